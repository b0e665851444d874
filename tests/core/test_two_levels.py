"""Intervals over runs and problems: by hand, by tables of Student's t, and by coverage on simulated data."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from rlvr_cli.core.two_levels import difference_of, holm, mean_of, quantile, two_sided


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (5, 2.57058), (30, 2.04227), (1e9, 1.95996)],
)
def test_students_quantiles_are_those_of_the_tables(freedom: float, value: float) -> None:
    assert quantile(freedom) == pytest.approx(value, rel=2e-5)
    assert two_sided(value, freedom) == pytest.approx(0.05, rel=1e-4)
    assert two_sided(0.0, freedom) == pytest.approx(1.0)


def test_students_t_with_large_and_broken_freedoms() -> None:
    assert quantile(4999) == pytest.approx(1.96044, rel=1e-4)
    assert quantile(1.5) == pytest.approx(6.0, abs=0.35)  # between 12.7 and 4.3
    assert two_sided(2.0, 1) == pytest.approx(1 - 2 * math.atan(2) / math.pi)  # Cauchy's distribution
    assert two_sided(1.0, 2) == pytest.approx(1 - 1 / math.sqrt(3))


def test_a_mean_by_hand() -> None:
    # Two runs, three problems. Rows' means 1/3, 1; columns' 1, 1/2, 1/2; the whole 2/3.
    scores = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    found = mean_of(scores, (0.0, 1.0))
    # MS_seed / SP: var(1/3, 1) / 2 = (2/9) / 2 = 1/9 with 1 degree of freedom.
    # MS_problem / SP: var(1, .5, .5) / 3 = (1/12) / 3 = 1/36. The rest: each cell is off by 1/3 or 1/6:
    # 2 * (1/9 + 1/36 + 1/36) = 1/3, over (1 * 2) * 6: 1/36. So problems add 0, and t has 1 degree of freedom.
    half = 12.7062 * math.sqrt(1 / 9)
    assert (found.mean, found.runs, found.problems) == (pytest.approx(2 / 3), 2, 3)
    assert (found.low, found.high) == (0.0, 1.0)  # cut to what a share can be
    free = mean_of(scores)
    assert (free.low, free.high) == (
        pytest.approx(2 / 3 - half, rel=1e-4),
        pytest.approx(2 / 3 + half, rel=1e-4),
    )


def test_problems_add_what_runs_do_not_hold() -> None:
    # Rows' means .5, .5: no variance between runs. Columns' 1, 0 and nothing left over.
    found = mean_of(np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert found.high - 0.5 == pytest.approx(12.7062 * math.sqrt(0.5 / 2), rel=1e-4)
    lone = mean_of(np.array([[1.0, 0.0]]))  # one run: over problems alone, the same here
    assert (lone.low, lone.high) == (found.low, found.high)
    column = mean_of(np.array([[0.2], [0.4], [0.6]]))  # one number a run: Student's t over runs
    assert column.high - 0.4 == pytest.approx(4.30265 * 0.2 / math.sqrt(3), rel=1e-4)
    assert math.isnan(mean_of(np.array([[0.5]])).low)


def test_where_nothing_varies_the_binomial_limit_stands_in() -> None:
    none = mean_of(np.zeros((3, 10)), (0.0, 1.0))
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.025**0.1))
    every = mean_of(np.ones((3, 10)), (0.0, 1.0))
    assert (every.low, every.high) == (pytest.approx(0.025**0.1), 1.0)


def test_a_difference_by_hand() -> None:
    a = np.array([[0.0, 0.0], [0.5, 0.0]])
    b = np.array([[1.0, 0.5], [0.5, 0.0]])
    found = difference_of(a, b)
    # Means 1/8 and 1/2. Seeds: var(0, 1/4) / 2 = 1/64 of A, var(3/4, 1/4) / 2 = 1/16 of B, 1 degree each.
    # Problems: differences 3/4 - 1/4 = 1/2 and 1/4: var 1/32, / 2 = 1/64; the rest of A: every cell is off by
    # 1/8: 4/64 / (1 * 4) = 1/64; of B nothing. 1/64 - 1/64 = 0.
    variance, freedom = 1 / 64 + 1 / 16, (5 / 64) ** 2 / ((1 / 64) ** 2 + (1 / 16) ** 2)
    assert found.seeds and found.difference == 3 / 8 and freedom == pytest.approx(25 / 17)
    half = quantile(freedom) * math.sqrt(variance)
    assert (found.low, found.high) == (pytest.approx(3 / 8 - half), pytest.approx(3 / 8 + half))
    # t is 1.34; two problems differ, both up: of the four sign patterns two are as extreme
    assert found.p_value == max(two_sided(3 / 8 / math.sqrt(variance), freedom), 0.5)
    back = difference_of(b, a)
    assert (back.difference, back.low, back.p_value) == (-3 / 8, pytest.approx(-found.high), found.p_value)


def test_one_run_each_is_over_problems_alone() -> None:
    found = difference_of(np.array([[0.0, 0.0, 0.0]]), np.array([[1.0, 1.0, 0.0]]))
    assert not found.seeds and found.p_value == 0.5  # two differ: the signs ++ and -- of four
    assert not difference_of(np.zeros((1, 3)), np.zeros((3, 3))).seeds
    same = difference_of(np.full((2, 1), 0.3), np.full((2, 1), 0.4))
    assert same.p_value == 1.0  # copies of two runs: nothing can be said


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def simulated(generator: np.random.Generator, seeds: int, spread: float, problems: np.ndarray) -> np.ndarray:
    """Shares of four samples: a seed moves the log-odds of every problem, and of each one by itself."""
    own = generator.normal(0, spread, size=(seeds, 1)) + generator.normal(0, 0.3, size=(seeds, len(problems)))
    return generator.binomial(4, 1 / (1 + np.exp(-(problems + own)))) / 4


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.0), (3, 0.5), (5, 0.5)])
def test_intervals_cover_and_false_differences_are_rare(seeds: int, spread: float) -> None:
    generator, trials = np.random.default_rng(0), 300
    truth = simulated(
        generator, 2000, spread, np.array([NormalDist().inv_cdf((n + 0.5) / 500) for n in range(500)])
    ).mean()
    inside = problems_alone = false = 0
    for _ in range(trials):
        problems = generator.normal(0, 1, size=60)
        a, b = (simulated(generator, seeds, spread, problems) for _ in range(2))
        found, alone = mean_of(a, (0.0, 1.0)), mean_of(a[:1], (0.0, 1.0))
        inside += found.low <= truth <= found.high
        problems_alone += alone.low <= truth <= alone.high
        false += difference_of(a, b).p_value < 0.05
    assert inside >= 0.88 * trials  # measured over 800 trials: 94.5%, 90.6% and 94.1%
    assert false <= 0.08 * trials
    if spread:
        assert problems_alone < 0.85 * trials  # what an interval over problems alone says of new seeds


def test_a_real_difference_is_found() -> None:
    generator = np.random.default_rng(1)
    problems = generator.normal(0, 1, size=100)
    hits = [
        difference_of(
            simulated(generator, 3, 0.1, problems), simulated(generator, 3, 0.1, problems + 1)
        ).p_value < 0.05
        for _ in range(50)
    ]  # fmt: skip
    assert sum(hits) >= 45
