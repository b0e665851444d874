"""The loss of a reward model: worked numbers, its slopes, and what it leaves free."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.algorithms.bradley_terry import bradley_terry, token_weights

CHOSEN, REJECTED = [1.2, 0.3, -0.5], [0.4, 0.6, -1.5]


def double(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rows(chosen: list[float], rejected: list[float]) -> torch.Tensor:
    return torch.stack([double(chosen), double(rejected)], 1).flatten()


def loss(margins: list[float] | None = None, centre: float = 0.0) -> float:
    found, _ = bradley_terry(rows(CHOSEN, REJECTED), double(margins or [0.0] * 3), double([1.0] * 3), centre)
    return float(found)


def test_the_worked_numbers() -> None:
    """-log sigmoid of .8, -.3, 1: .3711, .8544, .3133; with margins 1, 0, 1/3: .7981, .8544, .4144."""
    assert loss() == pytest.approx(0.5129, abs=5e-5)
    assert loss([1, 0, 1 / 3]) == pytest.approx(0.6890, abs=5e-5)
    assert loss(centre=0.01) - loss() == pytest.approx(0.0246, abs=5e-5)  # (1.6^2 + .9^2 + 2^2) / 3 / 100
    logexp = torch.logaddexp(double(CHOSEN), double(REJECTED)) - double(CHOSEN)  # OpenRLHF's
    assert loss() == pytest.approx(float(logexp.mean()), abs=1e-12)
    _, told = bradley_terry(rows(CHOSEN, REJECTED), torch.zeros(3), double([1.0] * 3), 0.0)
    assert told["rewards/accuracies"] == pytest.approx(2 / 3)
    assert told["rewards/margins"] == pytest.approx(0.5)
    assert told["rewards/chosen"] == pytest.approx(1 / 3) and told["rewards/rejected"] == pytest.approx(
        -1 / 6
    )


def test_scores_by_their_mean_and_deviation() -> None:
    """As `verifiers.<name>.normalise` has them, with the deviation that is stored: over n - 1."""
    scores = rows(CHOSEN, REJECTED)
    normal = (scores - scores.mean()) / scores.std()
    assert [float(scores.min()), float(scores.mean()), float(scores.max())] == pytest.approx(
        [-1.5, 0.0833, 1.2], abs=5e-5
    )
    assert normal[0::2].tolist() == pytest.approx([1.1760, 0.2282, -0.6143], abs=5e-5)
    assert normal[1::2].tolist() == pytest.approx([0.3335, 0.5441, -1.6674], abs=5e-5)


def test_all_pairs_of_one_prompt_divided_by_their_number() -> None:
    """InstructGPT: of scores 1.2 > .4 > -.5 three pairs."""
    pairs = rows([1.2, 1.2, 0.4], [0.4, -0.5, -0.5])
    found, _ = bradley_terry(pairs, torch.zeros(3), double([1 / 3] * 3), 0.0)
    assert float(found) == pytest.approx(0.2933, abs=5e-5)


def test_the_slopes_are_those_of_the_notes_and_of_finite_differences() -> None:
    scores, margins, weights = rows(CHOSEN, REJECTED), double([0.2, 0.0, 0.5]), double([1.0, 2.0, 0.5])
    _, slopes, _ = token_weights(scores, torch.zeros(3), double([1.0] * 3), 0.0)
    assert slopes[0::2].tolist() == pytest.approx([-0.1033, -0.1915, -0.0896], abs=5e-5)
    assert slopes[1::2].tolist() == pytest.approx([0.1033, 0.1915, 0.0896], abs=5e-5)
    _, slopes, _ = token_weights(scores, margins, weights, 0.05)
    for place in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[place] = 1e-6
        up, down = (bradley_terry(scores + sign * step, margins, weights, 0.05)[0] for sign in (1, -1))
        assert float(slopes[place]) == pytest.approx(float(up - down) / 2e-6, abs=1e-8)


scores = st.lists(st.floats(-50, 50), min_size=2, max_size=2)


@given(scores, st.floats(-20, 20))
def test_scores_are_defined_up_to_a_constant_until_they_are_centred(pair: list[float], shift: float) -> None:
    one, zero = double([1.0]), torch.zeros(1, dtype=torch.float64)
    at = [bradley_terry(double(pair) + by, zero, one, 0.0)[0] for by in (0.0, shift)]
    assert float(at[0]) == pytest.approx(float(at[1]), abs=1e-9)
    _, slopes, _ = token_weights(double(pair), zero, one, 0.01)
    assert float(slopes.sum()) == pytest.approx(0.04 * sum(pair), abs=1e-9)  # towards a sum of 0


def test_scores_far_apart_do_not_overflow() -> None:
    found, slopes, _ = token_weights(double([-1e4, 1e4]), double([0.0]), double([1.0]), 0.0)
    assert float(found) == 2e4 and slopes.tolist() == [-1.0, 1.0]


def test_equal_scores_are_pulled_apart_by_half() -> None:
    """-log sigmoid has the slope -1/2 at 0, where a new head begins."""
    zeros_2P, one_P = torch.zeros(2, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    loss, slopes_2P, _ = token_weights(zeros_2P, 0 * one_P, one_P, 0.0)
    assert float(loss) == pytest.approx(math.log(2)) and slopes_2P.tolist() == pytest.approx([-0.5, 0.5])
