import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.engine.pack import REPEATED, Bundle, alone, bundles_of, collate, lay_out, plan, prompts_of

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)
GROUPS = st.lists(
    st.tuples(st.integers(1, 20), st.lists(st.integers(1, 30), min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)
"""Length of each prompt, and of the responses to it."""


def sampled(groups):
    """Sequences of these shapes and which of their tokens are trained; every token is another number."""
    sequences, trained = [], []
    for number, (prompt, responses) in enumerate(groups):
        for response in responses:
            own = 1000 * len(sequences) + np.arange(response)
            sequences.append(np.concatenate([-100 * number - np.arange(prompt) - 1, own]).astype(np.int32))
            trained.append(np.arange(prompt + response) >= prompt)
    return sequences, trained


def starts_of(trained):
    return np.concatenate([[0], np.cumsum([t.sum() for t in trained])[:-1]])


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 4), st.integers(1, 200), st.booleans())
def test_every_sequence_is_planned_once_and_ranks_have_as_many_micro_batches(lengths, ranks, budget, padded):
    plans = plan(lengths, ranks=ranks, tokens_per_microbatch=budget, padded=padded)
    assert len(plans) == ranks and len({len(p) for p in plans}) == 1
    flat = [i for share in plans for micro in share for bundle in micro for i in bundle.members]
    assert sorted(flat) == list(range(len(lengths)))


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_micro_batches_keep_to_the_budget_unless_one_sequence_is_longer(lengths, budget, padded):
    for micro in plan(lengths, ranks=1, tokens_per_microbatch=budget, padded=padded)[0]:
        sizes = [bundle.tokens for bundle in micro]
        assert (len(micro) * max(sizes) if padded else sum(sizes)) <= budget or len(micro) == 1


@settings(deadline=None)
@given(GROUPS, st.integers(1, 3), st.integers(1, 200))
def test_prompts_are_shared_within_the_budget_and_by_their_own_sequences_alone(groups, ranks, budget):
    sequences, trained = sampled(groups)
    plans = plan(
        [len(s) for s in sequences],
        ranks=ranks,
        tokens_per_microbatch=budget,
        prompts=prompts_of(sequences, trained),
    )
    seen = [i for share in plans for micro in share for bundle in micro for i in bundle.members]
    assert sorted(seen) == list(range(len(sequences)))
    for micro in (micro for share in plans for micro in share):
        assert sum(bundle.cost for bundle in micro) <= budget or len(micro) == 1
        for bundle in micro:
            same = {sequences[i][: bundle.prompt].tobytes() for i in bundle.members}
            assert len(same) == 1 and (bundle.prompt == 0) == (len(bundle.members) == 1)


def test_a_prompt_is_shared_where_that_saves_a_fifth():
    """Four responses of 30 tokens: 3 x 8 of 152 tokens would be saved, or 3 x 12 of 168."""
    for prompt, bundles in ((8, 4), (12, 1)):
        sequences, trained = sampled([(prompt, [30] * 4)])
        found = bundles_of([prompt + 30] * 4, prompts_of(sequences, trained), 1000)
        assert len(found) == bundles
    assert found == [Bundle((0, 1, 2, 3), (42,) * 4, 12)]
    assert found[0].tokens == 12 + 4 * 30
    assert found[0].cost == found[0].tokens + int(REPEATED * 3 * 12)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_one_prompt_is_dealt_over_all_ranks(ranks):
    sequences, trained = sampled([(20, [10] * 12)])
    plans = plan([30] * 12, ranks=ranks, tokens_per_microbatch=1000, prompts=prompts_of(sequences, trained))
    counts = [sum(len(b.members) for micro in share for b in micro) for share in plans]
    assert min(counts) >= 12 / ranks - 2 and sum(counts) == 12


def test_equal_lengths_are_dealt_evenly_over_ranks():
    plans = plan([10] * 8, ranks=2, tokens_per_microbatch=20)
    assert [sum(len(m) for m in share) for share in plans] == [4, 4]
    assert [len(share) for share in plans] == [2, 2]


def test_short_sequences_fill_what_long_ones_leave():
    plans = plan([60, 60, 40, 40], ranks=1, tokens_per_microbatch=100)
    assert [[b.members[0] for b in micro] for micro in plans[0]] == [[0, 2], [1, 3]]


@pytest.mark.parametrize("padded", [True, False])
def test_collate_points_at_the_position_before_each_trained_token(padded):
    sequences = [np.array([7, 8, 9, 10], np.int32), np.array([5, 6], np.int32)]
    trained = [np.array([False, False, True, True]), np.array([False, True])]
    micro = collate(alone(sequences, [0, 1]), sequences, trained, np.array([0, 2]), padded=padded)
    if padded:
        assert micro.input_ids.tolist() == [[7, 8, 9, 10], [5, 6, 0, 0]]
        assert micro.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
        assert micro.layout is None
    else:
        assert micro.input_ids.tolist() == [[7, 8, 9, 10, 5, 6]]
        assert micro.position_ids.tolist() == [[0, 1, 2, 3, 0, 1]]
        assert micro.layout.lengths == (4, 2) and micro.layout.starts.tolist() == [0, 4, 6]
        assert micro.layout.expand is None
    assert micro.predictors_n.tolist() == [1, 2, 4]
    assert micro.targets_n.tolist() == [9, 10, 6]
    assert micro.tokens_n.tolist() == [0, 1, 2]
    assert micro.lengths_b.tolist() == [2, 1]


def test_a_shared_prompt_is_in_the_row_once_and_predicts_every_first_token():
    sequences = [np.array([7, 8, 9], np.int32), np.array([7, 8, 5, 6], np.int32)]
    trained = [np.arange(3) >= 2, np.arange(4) >= 2]
    micro = collate([Bundle((1, 0), (4, 3), 2)], sequences, trained, np.array([0, 1]))
    assert micro.input_ids.tolist() == [[7, 8, 5, 6, 9]]
    assert micro.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert micro.predictors_n.tolist() == [1, 2, 1]
    assert micro.targets_n.tolist() == [5, 6, 9]
    assert micro.tokens_n.tolist() == [1, 2, 0]
    assert micro.layout.lengths == (4, 3)
    assert micro.layout.expand.tolist() == [0, 1, 2, 3, 0, 1, 4]
    assert micro.layout.collect.tolist() == [0, 1, 2, 3, 6]


@settings(deadline=None)
@given(GROUPS, st.integers(20, 200))
def test_attention_sees_every_sequence_whole_and_gives_every_token_back(groups, budget):
    sequences, trained = sampled(groups)
    plans = plan(
        [len(s) for s in sequences],
        ranks=1,
        tokens_per_microbatch=budget,
        prompts=prompts_of(sequences, trained),
    )
    for bundles in plans[0]:
        micro = collate(bundles, sequences, trained, starts_of(trained))
        row, layout = micro.input_ids[0], micro.layout
        laid = row if layout.expand is None else row[layout.expand]
        whole = [tuple(x.tolist()) for x in laid.split(list(layout.lengths))]
        members = [i for bundle in bundles for i in bundle.members]
        assert sorted(whole) == sorted(tuple(sequences[i].tolist()) for i in members)
        if layout.expand is not None:
            assert laid[layout.collect].equal(row)
        assert micro.targets_n.tolist() == [t for i in members for t in sequences[i][trained[i]]]
        before = [sequences[i][np.flatnonzero(trained[i]) - 1] for i in members]
        assert row[micro.predictors_n].tolist() == np.concatenate(before).tolist()


def test_a_row_without_shared_prompts_is_laid_out_as_it_lies():
    layout = lay_out([np.arange(2), np.arange(2, 7)], 7)
    assert layout.expand is None and layout.lengths == (2, 5) and layout.longest == 5


def test_empty_share_is_one_token_with_nothing_to_train():
    micro = collate([], [], [], np.zeros(0))
    assert micro.input_ids.shape == (1, 1) and len(micro.targets_n) == 0
