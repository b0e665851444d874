import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.engine.pack import collate, plan, rows_of

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 200), st.none() | st.integers(1, 80))
def test_every_sequence_is_planned_once_and_ranks_have_as_many_micro_batches(
    lengths, ranks, budget, capacity
):
    plans = plan(lengths, ranks=ranks, tokens_per_microbatch=budget, capacity=capacity)
    assert len(plans) == ranks and len({len(p) for p in plans}) == 1
    flat = [i for share in plans for micro in share for row in micro for i in row]
    assert sorted(flat) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 200), st.none() | st.integers(1, 80))
def test_padded_micro_batches_keep_to_the_budget_unless_one_row_is_longer(lengths, budget, capacity):
    for micro in plan(lengths, ranks=1, tokens_per_microbatch=budget, capacity=capacity)[0]:
        width = max(sum(lengths[i] for i in row) for row in micro)
        assert len(micro) * width <= budget or len(micro) == 1


@given(LENGTHS, st.integers(1, 80))
def test_rows_keep_to_their_capacity_unless_one_sequence_is_longer(lengths, capacity):
    for row in rows_of(lengths, capacity):
        assert sum(lengths[i] for i in row) <= capacity or len(row) == 1


def test_equal_lengths_are_dealt_evenly_over_ranks():
    plans = plan([10] * 8, ranks=2, tokens_per_microbatch=20)
    assert [sum(len(m) for m in share) for share in plans] == [4, 4]
    assert [len(share) for share in plans] == [2, 2]


def test_collate_points_at_the_position_before_each_trained_token():
    sequences = [np.array([7, 8, 9, 10], np.int32), np.array([5, 6], np.int32)]
    trained = [np.array([False, False, True, True]), np.array([False, True])]
    micro = collate([[0], [1]], sequences, trained, np.array([0, 2]))
    assert micro.input_ids.tolist() == [[7, 8, 9, 10], [5, 6, 0, 0]]
    assert micro.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert micro.predictors_n.tolist() == [1, 2, 4]
    assert micro.targets_n.tolist() == [9, 10, 6]
    assert micro.tokens_n.tolist() == [0, 1, 2]
    assert micro.lengths_b.tolist() == [2, 1]


def test_packed_row_restarts_its_positions():
    sequences = [np.array([7, 8, 9], np.int32), np.array([5, 6], np.int32)]
    trained = [np.array([False, True, True]), np.array([False, True])]
    micro = collate([[0, 1]], sequences, trained, np.array([0, 2]))
    assert micro.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert micro.predictors_n.tolist() == [0, 1, 3]
    assert micro.targets_n.tolist() == [8, 9, 6]


def test_empty_share_is_one_token_with_nothing_to_train():
    micro = collate([], [], [], np.zeros(0))
    assert micro.input_ids.shape == (1, 1) and len(micro.targets_n) == 0
