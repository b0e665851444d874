"""Log-ratios of two policies at the sampled tokens, and what is done about infinities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlvr_cli.algorithms.segments import widen

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = -1e4
"""Stands in for -inf, which a sampled token can get when the other engine gives it no mass. With it
(-inf) - (-inf) is 0 and 0 * (-inf) is 0 instead of NaN. A NaN is left alone: it must be seen. In a run the
engine refuses infinite logprobs besides (`engine/nonfinite.py`), as no sampled token should have one."""

BOUND = 20.0
"""|log-ratio| is clamped here before exp (as in verl): exp(20) = 4.9e8 is finite in float32. Past it the
clamp also stops the gradient."""


def finite(logprobs_N: Tensor) -> Tensor:
    """Log-probabilities without -inf (no gradient there), in at least float32."""
    return widen(logprobs_N).clamp(min=FLOOR)


def log_ratio(a_N: Tensor, b_N: Tensor, bound: float = BOUND) -> Tensor:
    """log(p_a / p_b) within +-bound."""
    return (finite(a_N) - finite(b_N)).clamp(-bound, bound)
