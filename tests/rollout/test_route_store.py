"""Routes of cached prefixes: the blocks that are there, the ones that left, none after new weights."""

from __future__ import annotations

import numpy as np
import pytest

from rlvr_cli.core.routes import aligned, numbers_for
from rlvr_cli.rollout.route_store import RoutesLost, RouteStore

TOKENS = list(range(10))
ROWS = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)


def test_a_prefix_has_the_routes_it_was_given() -> None:
    store = RouteStore(block=4, capacity=8)
    store.put(TOKENS, ROWS)
    assert len(store) == 2  # whole blocks
    assert np.array_equal(store.get([*TOKENS[:8], 77], 8), ROWS[:8])
    with pytest.raises(RoutesLost, match="12 tokens of a prompt from its cache, and the experts of 8"):
        store.get([*TOKENS, 10, 11], 12)
    with pytest.raises(RoutesLost, match="the experts of 0"):
        store.get([5, *TOKENS], 4)  # the same tokens behind another one
    store.clear()
    assert len(store) == 0


def test_the_least_lately_used_block_leaves() -> None:
    store = RouteStore(block=4, capacity=2)
    store.put([1] * 4, ROWS[:4])
    store.put([2] * 4, ROWS[:4])
    store.get([1] * 4, 4)
    store.put([3] * 4, ROWS[:4])
    store.get([1] * 4, 4)
    with pytest.raises(RoutesLost):
        store.get([2] * 4, 4)


def test_routes_are_of_all_tokens_but_the_last() -> None:
    assert len(aligned(ROWS, 11)) == 10 and len(aligned(ROWS, 10)) == 9
    with pytest.raises(ValueError, match="routes of 10 tokens for a sequence of 12"):
        aligned(ROWS, 12)
    assert numbers_for(256) is np.uint8 and numbers_for(257) is np.int16
