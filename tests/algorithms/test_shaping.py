"""Score -> reward, and which groups train."""

import math
from typing import Any

import pytest
import torch
from f1 import make, near
from torch import Tensor

from rlvr_cli.algorithms.filter import Metric

NAN = float("nan")


def grid(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def shape(
    option: Any, scores: Tensor, lengths: list[int], truncated: bool = False, step: int = 0
) -> list[float]:
    truncated_PG = torch.full_like(scores, truncated, dtype=torch.bool)
    return option(scores, torch.tensor([lengths]), truncated_PG, step).flatten().tolist()


def test_soft_overlong() -> None:
    lengths = [100, 16384, 16385, 18432, 20480, 21000]
    penalties = [0, 0, -0.000244140625, -0.5, -1.0]
    zeros = torch.zeros(1, 6, dtype=torch.float64)
    paper = make("shaping", "soft_overlong", max_length=20480, buffer=4096)
    assert shape(paper, zeros, lengths) == near([*penalties, -1.0])
    assert shape(paper, zeros, lengths)[2] == -1 / 4096
    verl = make("shaping", "soft_overlong", max_length=20480, buffer=4096, floor=None)
    assert shape(verl, zeros, lengths) == near([*penalties, -1.12695])
    half = make("shaping", "soft_overlong", max_length=20480, buffer=4096, factor=0.5)
    assert shape(half, zeros, lengths)[3:] == near([-0.25, -0.5, -0.5])


def test_soft_overlong_takes_lengths_from_the_rollout() -> None:
    option = make("shaping", "soft_overlong")
    with pytest.raises(ValueError, match="resolve"):
        shape(option, grid([1.0]), [1])
    option.resolve(20480)
    assert (option.max_length, option.buffer) == (20480, 4096)
    given = make("shaping", "soft_overlong", max_length=100, buffer=10)
    given.resolve(20480)
    assert (given.max_length, given.buffer) == (100, 10)
    with pytest.raises(ValueError, match=r"algorithm\.shaping\.buffer is 64; it must be in 1\.\.max_length"):
        make("shaping", "soft_overlong", buffer=64).resolve(32)


def test_cosine_length_and_its_schedule() -> None:
    option = make("shaping", "cosine_length", r_min=-0.5, r_max=0.0)
    option.resolve(8192)
    lengths = [0, 2048, 4096, 6144, 8192, 9000]
    zeros = torch.zeros(1, 6, dtype=torch.float64)
    assert shape(option, zeros, lengths) == near([0, -0.073223, -0.25, -0.426777, -0.5, -0.5])
    assert [option.on(step) for step in (0, 99, 100, 599, 600)] == [True, True, False, False, True]
    assert shape(option, zeros, lengths, step=100) == [0] * 6
    assert make("shaping", "cosine_length", off_steps=0).on(10_000)


def test_stop_properly() -> None:
    assert shape(make("shaping", "stop_properly", coef=0.0), grid([1.0, 0.5]), [9, 9], True) == [0, 0]
    assert shape(make("shaping", "stop_properly", coef=0.5), grid([1.0, 0.5]), [9, 9], True) == [0.5, 0.25]
    assert shape(make("shaping", "stop_properly", coef=-0.5), grid([1.0, 0.0]), [9, 9], True) == [-0.5, -0.5]
    assert shape(make("shaping", "stop_properly", coef=0.0), grid([1.0, 0.5]), [9, 9], False) == [1, 0.5]


def test_reward_coding() -> None:
    coded = {"correct": 1.0, "wrong": -1.0}
    assert shape(make("shaping", "identity"), grid([0.7]), [1]) == near([0.7])  # 7 of 10 tests passed
    assert shape(make("shaping", "identity", **coded), grid([1.0, 0.0, 0.5]), [1, 1, 1]) == [1, -1, 0]
    overlong = make("shaping", "soft_overlong", max_length=8, buffer=4, **coded)
    assert shape(overlong, grid([1.0, 0.0]), [6, 8]) == [0.5, -2.0]


@pytest.mark.parametrize("name", ["identity", "soft_overlong", "cosine_length", "stop_properly"])
@pytest.mark.parametrize("truncated", [False, True])
def test_no_verdict_stays_no_verdict(name: str, truncated: bool) -> None:
    for values in ({}, {"coef": -1.0}) if name == "stop_properly" else ({},):
        option = make("shaping", name, **values)
        option.resolve(10)
        assert math.isnan(shape(option, grid([NAN]), [10], truncated)[0])


def test_zero_signal() -> None:
    correct = grid([1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0])
    assert make("filter", "zero_signal")(correct, correct).tolist() == [False, True, False]
    assert make("filter", "none")(correct, correct).tolist() == [True, True, True]
    assert make("filter", "zero_signal")(grid([1.0], [0.0], [NAN]), grid([1.0], [0.0], [NAN])).tolist() == [
        True,
        True,
        False,
    ]


def test_zero_signal_by_correctness_or_reward() -> None:
    correct, shaped = grid([1.0, 1.0]), grid([1.0, 0.5])
    assert not make("filter", "zero_signal")(correct, shaped).item()
    assert make("filter", "zero_signal", metric=Metric.reward)(correct, shaped).item()


def test_zero_signal_without_verdicts() -> None:
    correct = grid([1, NAN, 1, 1], [0, NAN, 1, 0], [NAN] * 4, [NAN, NAN, NAN, 1])
    assert make("filter", "zero_signal")(correct, correct).tolist() == [False, True, False, False]
    negative = grid([-1, NAN, -1])
    assert not make("filter", "zero_signal", metric=Metric.reward)(negative, negative).any()


def test_difficulty_band() -> None:
    correct = grid([1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [NAN] * 4, [NAN, 1, 0, NAN])
    assert make("filter", "difficulty_band")(correct, correct).tolist() == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    band = make("filter", "difficulty_band", low=0.5, high=0.75)
    assert band(correct, correct).tolist() == [False] * 6  # bounds are excluded
