"""Means over runs and problems: their intervals, differences of groups of runs, and many comparisons at once.

Every run of a group (its seeds) is measured on the same problems, so a score has two sources of chance:
which seeds there are and which problems. Crossed random effects in an analysis of variance keep them apart:

    y_sp = mean + seed_s + problem_p + rest_sp
    var(mean of y) = (MS_seed + max(MS_problem - MS_rest, 0)) / (S P)

and Student's t with Satterthwaite's (1946) degrees of freedom takes the few seeds into account. It is the
usual model of readers and cases in radiology (Hillis 2007, Statistics in Medicine 26:596).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlvr_cli.core.paired import EXACT, sign_flips

Matrix = NDArray[np.float64]
"""Scores by run (rows) and problem (columns)."""
LEVEL = 0.95
NORMAL = 5000.0
"""Degrees of freedom from which Student's t is the normal distribution to three digits."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its 95% interval; NaN bounds where chance cannot be estimated (one run of one problem)."""

    mean: float
    low: float
    high: float
    runs: int
    problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """B minus A, paired by problem; the runs of both are independent of each other."""

    difference: float
    low: float
    high: float
    p_value: float
    seeds: bool
    """Chance between runs is in it: both groups have two at least. Else it is over problems alone."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A share of a variance, estimated with so many degrees of freedom."""

    variance: float
    freedom: float


def mean_of(scores: Matrix, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """Mean over runs and problems. One run: over problems alone; one column: over runs alone.

    Where every score is the lower bound, or every one the upper, nothing varies: the exact binomial limit of
    as many trials as there are problems stands in.
    """
    runs, problems = scores.shape
    mean = float(scores.mean())
    parts = [*_between_runs(scores), *_between_problems(scores.mean(0), _rest(scores))]
    low, high = _interval(mean, parts)
    chance = ((1 - LEVEL) / 2) ** (1 / problems)
    if problems > 1 and (scores == bounds[0]).all():
        low, high = mean, bounds[0] + (bounds[1] - bounds[0]) * (1 - chance)
    elif problems > 1 and (scores == bounds[1]).all():
        low, high = bounds[0] + (bounds[1] - bounds[0]) * chance, mean
    low, high = (float(np.clip(end, *bounds)) for end in (low, high))
    return Estimate(mean=mean, low=low, high=high, runs=runs, problems=problems)


def difference_of(a: Matrix, b: Matrix) -> Difference:
    """Of two groups measured on the same problems (columns in the same order)."""
    change = b.mean(0) - a.mean(0)
    seeds = len(a) > 1 and len(b) > 1
    rest = _rest(a) + _rest(b)
    between = [*_between_runs(a), *_between_runs(b)] if seeds else []
    parts = [*between, *_between_problems(change, rest if seeds else 0.0)]
    low, high = _interval(float(change.mean()), parts)
    p_value = _p_value(float(change.mean()), parts)
    if len(change) == 1 and not any(part.variance for part in parts):  # runs that are copies tell nothing
        p_value = 1.0
    if len(change) > 1 and np.count_nonzero(change) <= EXACT:  # t is too sure where few problems differ
        p_value = max(p_value, sign_flips(change.tolist()))
    return Difference(difference=float(change.mean()), low=low, high=high, p_value=p_value, seeds=seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for their number (Holm 1979): below 0.05 each, the chance of any false one is below 0.05."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def two_sided(t: float, freedom: float) -> float:
    """P(|T| > t) of Student's distribution: its density over the angle atan(T / sqrt(freedom)), summed."""
    if freedom >= NORMAL:
        return math.erfc(abs(t) / math.sqrt(2))
    begin = math.atan(abs(t) / math.sqrt(freedom))
    return _cosines(begin, freedom) / _cosines(0.0, freedom)


def quantile(freedom: float, level: float = LEVEL) -> float:
    """The t that |T| exceeds with probability 1 - level, by halving."""
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > 1 - level:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - level else (low, middle)
    return high


def _cosines(begin: float, freedom: float) -> float:
    """Integral of cos^(freedom - 1) from `begin` to a right angle; in u^2 its root at the end is smooth."""
    most = math.sqrt(math.pi / 2 - begin)
    u = most / 2 * (NODES + 1)
    return float(most / 2 * (WEIGHTS * np.sin(u * u) ** (freedom - 1) * 2 * u).sum())


def _between_runs(scores: Matrix) -> list[_Part]:
    """Variance of the mean by its runs; it holds the rest's share, which `_between_problems` leaves out."""
    runs = len(scores)
    return [_Part(float(scores.mean(1).var(ddof=1)) / runs, runs - 1)] if runs > 1 else []


def _between_problems(means: Matrix, rest: float) -> list[_Part]:
    problems = len(means)
    if problems < 2:
        return []
    return [_Part(max(float(means.var(ddof=1)) / problems - rest, 0.0), problems - 1)]


def _rest(scores: Matrix) -> float:
    """MS_rest / (S P): what is left when runs and problems are taken out, as a variance of the mean."""
    runs, problems = scores.shape
    if runs < 2 or problems < 2:
        return 0.0
    left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    return float((left**2).sum()) / ((runs - 1) * (problems - 1) * runs * problems)


def _freedom(parts: Sequence[_Part]) -> float:
    """Satterthwaite's, of a sum of variances."""
    return sum(part.variance for part in parts) ** 2 / sum(p.variance**2 / p.freedom for p in parts)


def _interval(mean: float, parts: Sequence[_Part]) -> tuple[float, float]:
    if not parts:
        return math.nan, math.nan
    variance = sum(part.variance for part in parts)
    half = quantile(_freedom(parts)) * math.sqrt(variance) if variance > 0 else 0.0
    return mean - half, mean + half


def _p_value(change: float, parts: Sequence[_Part]) -> float:
    variance = sum(part.variance for part in parts)
    if not parts or change == 0:
        return 1.0
    return two_sided(change / math.sqrt(variance), _freedom(parts)) if variance > 0 else 0.0
