"""Which entries of a weight training has changed, and what pattern they make. Pure tensor maths.

Zhu et al. 2025 (arXiv 2511.08567): weights are compared as bf16 stores them, since an update below half a
unit in the last place is not there for whoever loads the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def changed_in_bf16(w0: Tensor, w1: Tensor) -> Tensor:
    """Entries that are another number once both are bf16; boolean of their shape.

    The paper's rule, |w1 - w0| > 1e-3 max(|w0|, |w1|) on bf16 values, is the same: neighbours in bf16 are at
    least 2^-8 of their size apart. 0 is -0, and NaN is never the same as anything.
    """
    return w0.to(torch.bfloat16) != w1.to(torch.bfloat16)


def jaccard(both: float, first: float, second: float) -> float:
    """Entries in both masks over entries in either, from the three counts; NaN where both are empty."""
    either = first + second - both
    return both / either if either else math.nan


def jaccard_at_random(p: float, q: float) -> float:
    """What independent masks with these shares of entries have: pq / (p + q - pq)."""
    return jaccard(p * q, p, q)


def dispersion(counts: Tensor, size: int) -> float:
    """How much more the lines of a matrix differ in changed entries than chance makes them.

    `counts`: changed entries of each row (or column), `size`: entries of one. Variance of the lines' shares
    over that of independent entries, p(1-p)/size; 1: at random, above: stripes. NaN where nothing or
    everything has changed, or there is one line.
    """
    shares = counts.double() / size
    p = float(shares.mean())
    if not 0 < p < 1 or len(shares) < 2:
        return math.nan
    return float(shares.var()) * size / (p * (1 - p))
