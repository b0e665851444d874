"""Intervals and tests for a few numbers. Pure Python: rules are asked after every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, median

Z95 = 1.959964
MEDIAN_STEP = 0.953873
"""Median of |a - b| for normal numbers of standard deviation 1: sqrt(2) times 0.674490."""
STUDENT = {0.975: (12.706, 4.303, 3.182), 0.9875: (25.452, 6.205, 4.177)}
"""Quantiles for 1, 2 and 3 degrees of freedom, where the expansion below is too rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What Welch's test needs of a sample."""

    count: int
    mean: float
    variance: float


def rise(before: list[float], after: list[float]) -> float:
    """Welch's t of two samples: difference of the means in standard errors."""
    return welch(*(Moments(count=len(x), mean=fmean(x), variance=variance(x)) for x in (before, after)))


def welch(before: Moments, after: Moments) -> float:
    """The same of samples of which only the moments are known."""
    difference = after.mean - before.mean
    error = math.sqrt(before.variance / before.count + after.variance / after.count)
    if error < 1e-12:
        return math.copysign(math.inf, difference) if abs(difference) > 1e-12 else 0.0
    return difference / error


def variance(values: list[float]) -> float:
    """Of a sample; `statistics.variance` is exact in fractions and a hundred times slower."""
    middle = fmean(values)
    return sum((v - middle) ** 2 for v in values) / (len(values) - 1)


def noise(values: list[float]) -> float:
    """Standard deviation of a series around its course, whatever that is: by the median step from one value
    to the next, which a trend hardly moves and a break does not."""
    return median(abs(b - a) for a, b in pairwise(values)) / MEDIAN_STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one sample's mean to another's."""

    before: float
    after: float
    low: float
    """Interval of the difference (Welch)."""
    high: float
    first: int
    """Values of the first sample."""

    @property
    def certain(self) -> bool:
        """Whether it is more than noise; so is a difference between two samples that do not vary."""
        return self.low > 0 or self.high < 0


def change_of(before: list[float], after: list[float], level: float = 0.975) -> Change:
    """Each sample has two values or more; `level`: 0.975 for a 95% interval, 0.9875 for one of two.

    Degrees of freedom by Welch (1947) and Satterthwaite (1946).
    """
    means = fmean(before), fmean(after)
    parts = variance(before) / len(before), variance(after) / len(after)
    error = math.sqrt(sum(parts))
    half = 0.0
    if error > 1e-12:
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(before) - 1) + parts[1] ** 2 / (len(after) - 1))
        half = student(freedom, level) * error
    difference = means[1] - means[0]
    low, high = difference - half, difference + half
    return Change(before=means[0], after=means[1], low=low, high=high, first=len(before))


def student(freedom: float, level: float = 0.975) -> float:
    """Quantile of Student's t, by its expansion around the normal from 4 degrees on (error < 0.02)."""
    if freedom < 4:
        return STUDENT[level][max(1, math.floor(freedom)) - 1]
    z = NormalDist().inv_cdf(level)
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96)
    more = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return sum(term / freedom**power for power, term in enumerate((*terms, more)))


def wilson(hits: float, of: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927); (0, 1) without any trial."""
    if of <= 0:
        return 0.0, 1.0
    share = hits / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def fisher(hits: int, of: int, later_hits: int, later_of: int) -> float:
    """One-sided p-value of Fisher's exact test: so many hits or more among the first, were shares equal."""
    marked, total = hits + later_hits, of + later_of
    ways = sum(
        math.comb(of, k) * math.comb(later_of, marked - k)
        for k in range(hits, min(of, marked) + 1)
        if marked - k <= later_of
    )
    return ways / math.comb(total, marked)
