"""What dropout and unseeded sampling draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from rlvr_cli.core import rng


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The generators are the process's: later tests find them where they were."""
    before = rng.state()
    yield
    rng.load(before)


def drawn(seed: int, rank: int) -> tuple[float, float, float]:
    rng.seed(seed, rank)
    return torch.rand(()).item(), float(np.random.random()), random.random()


def test_every_rank_and_every_seed_has_numbers_of_its_own() -> None:
    cases = [(seed, rank) for seed in (0, 1, 12) for rank in (0, 1, 2)]
    for generator in zip(*(drawn(*case) for case in cases), strict=True):
        assert len(set(generator)) == len(cases)
    assert drawn(1, 2) == drawn(1, 2)


def test_generators_go_on_where_their_state_was_taken() -> None:
    drawn(3, 1)
    saved = rng.state()
    ahead = torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()
    drawn(4, 0)
    rng.load(saved)
    assert (torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()) == ahead
