"""Rewards by length and correctness, with the worked numbers of Open-R1's library."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from f1 import make, near

NAN = float("nan")


def shaped(option: Any, scores: list[list[float]], lengths: list[list[int]]) -> list[list[float]]:
    scores_PG, lengths_PG = torch.tensor(scores, dtype=torch.float64), torch.tensor(lengths)
    found: list[list[float]] = option(scores_PG, lengths_PG, torch.zeros_like(lengths_PG) > 0, 0).tolist()
    return found


def test_cosine() -> None:
    option = make("shaping", "scaled_cosine", max_length=1000)
    [right] = shaped(option, [[1, 1, 1, 1]], [[0, 500, 1000, 2000]])
    [wrong] = shaped(option, [[0, 0, 0, 0.3]], [[0, 500, 1000, 1000]])
    assert right == near([1 + 1, 1 + 0.75, 1 + 0.5, 1 + 0.5])
    assert wrong == near([-1, -0.75, -0.5, 0.3 - 0.5])
    half = make("shaping", "scaled_cosine", max_length=1000, factor=0.5)
    assert shaped(half, [[1]], [[500]]) == [near([1.375])]


def test_cosine_takes_its_length_from_the_rollout() -> None:
    option = make("shaping", "scaled_cosine")
    with pytest.raises(ValueError, match="resolve"):
        shaped(option, [[1]], [[1]])
    option.resolve(1000)
    assert shaped(option, [[1]], [[1000]]) == [near([1.5])]


def test_kimi() -> None:
    option = make("shaping", "kimi_length")
    assert shaped(option, [[1, 1, 1]], [[100, 200, 400]]) == [near([1.5, 1 + 1 / 6, 0.5])]
    assert shaped(option, [[0, 0, 0]], [[100, 200, 400]]) == [near([0, 0, -0.5])]
    assert shaped(option, [[1, 0, 1]], [[200, 200, 200]]) == [[1, 0, 1]]
    two = shaped(option, [[1, 1, 1], [0, 0, 0]], [[100, 200, 400], [7, 7, 8]])
    assert two == [near([1.5, 1 + 1 / 6, 0.5]), near([0, 0, -0.5])]


def test_kimi_without_a_verdict() -> None:
    """Such a sample has no part in the lengths, stays without, and a group of them has no numbers."""
    option = make("shaping", "kimi_length")
    [found] = shaped(option, [[1, 1, NAN]], [[100, 200, 9000]])
    assert found[:2] == near([1.5, 0.5]) and math.isnan(found[2])
    assert all(map(math.isnan, shaped(option, [[NAN, NAN]], [[1, 2]])[0]))
