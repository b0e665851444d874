"""Two measurements of the same problems: is the difference more than chance?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

FLIPS = 20_000
EXACT = 14
"""Problems with a difference up to which all sign flips are gone through."""
CLOSE = 1.5
"""Standard deviations up to which nobody asks for an exact p-value."""


def sign_flips(change: list[float], *, seed: int = 0) -> float:
    """Two-sided p-value of the paired permutation test: how often random signs give as large a sum.

    Exact over all sign patterns when few problems differ, else over random ones, the observed included.
    """
    moved = np.array([value for value in change if value])
    if not len(moved):
        return 1.0
    if len(moved) <= EXACT:
        patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
        sums = np.abs((2 * patterns - 1) @ moved)
        return float(np.mean(sums >= abs(moved.sum()) - 1e-9))
    generator, hits, chunk = np.random.default_rng(seed), 0, 1000
    for _ in range(FLIPS // chunk):
        signs = 2.0 * generator.integers(0, 2, size=(chunk, len(moved))) - 1
        hits += int((np.abs(signs @ moved) >= abs(moved.sum()) - 1e-9).sum())
    return (hits + 1) / (FLIPS + 1)


def chance(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """p-value of the change of the problems that both have; None where they have none in common.

    Where it is large, by the normal approximation of the same test: a thousandth of the time.
    """
    change = [after[key] - before[key] for key in before if key in after]
    if not change:
        return None
    deviation = math.sqrt(sum(value * value for value in change))  # of the sum under random signs
    if deviation == 0 or abs(sum(change)) < CLOSE * deviation:
        return 2 * NormalDist().cdf(-abs(sum(change)) / deviation) if deviation else 1.0
    return sign_flips(change)
