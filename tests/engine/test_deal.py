"""How sequences are dealt to ranks: no rank has more than its share, and ties go to the first rank."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.engine.pack import Bundle, deal

PROMPTS = [np.arange(n, dtype=np.int32).tobytes() for n in (0, 3, 60, 400)]
"""Of a few lengths, so that some are shared and some are not worth it."""
SEQUENCES = st.lists(st.tuples(st.integers(1, 900), st.sampled_from(PROMPTS)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(SEQUENCES, st.integers(1, 70), st.sampled_from([256, 4096]), st.booleans())
def test_no_rank_has_more_than_its_share(
    sequences: list[tuple[int, bytes]], ranks: int, budget: int, shared: bool
) -> None:
    """An equal part of all, and at most the largest bundle besides (less its own equal part)."""
    lengths = [len(prompt) // 4 + response for response, prompt in sequences]
    prompts = [prompt for _, prompt in sequences] if shared else None
    shares = deal(lengths, ranks=ranks, tokens_per_microbatch=budget, prompts=prompts)
    assert len(shares) == ranks
    members = [i for share in shares for bundle in share for i in bundle.members]
    assert sorted(members) == list(range(len(lengths)))
    costs = [sum(bundle.cost for bundle in share) for share in shares]
    largest = max(bundle.cost for share in shares for bundle in share)
    assert max(costs) <= sum(costs) / ranks + (1 - 1 / ranks) * largest + 1e-6
    if not shared:
        assert largest == max(lengths), "then the share is an equal part and one sequence"


def test_each_goes_to_the_first_of_those_with_the_fewest_tokens() -> None:
    shares = deal([5, 9, 5, 5, 2, 2, 1], ranks=3, tokens_per_microbatch=100)
    assert [[bundle.members for bundle in share] for share in shares] == [
        [(1,), (6,)],
        [(0,), (3,)],
        [(2,), (4,), (5,)],
    ]
    assert deal([7, 7], ranks=4, tokens_per_microbatch=8) == [
        [Bundle((0,), (7,))],
        [Bundle((1,), (7,))],
        [],
        [],
    ]
