"""Weights for the gap between the trainer and the engine that sampled: rho = exp(old - rollout).

Every option maps old_N, rollout_N (float log-probabilities of the sampled tokens) and lengths_B to weight_N.
The weight is detached and multiplies the token's policy loss; the PPO ratio stays new / old ("decoupled
PPO"). Where both engines agree every option is exactly 1. Rejected tokens weigh 0 but stay in the
normaliser (as in AReaL), so that rejecting does not inflate the rest; in verl they leave the mask, which
shrinks the denominator unless a global count is passed.
Log-ratios are clamped to +-20, per token and, for sequence products, again in total.

Not here: verl's bypass mode, which sets old = rollout and needs no weight; prime-rl's default, DPPO-TV, which
rejects tokens with A > 0 and p_new - p_rollout > 0.2, or A < 0 and p_new - p_rollout < -0.2; the loss
of the others is -A exp(new - rollout), and 1e-3 (new - rollout)^2 is added.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.ratio import BOUND, finite, log_ratio
from rlvr_cli.algorithms.segments import segment_mean, segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


class Level(Enum):
    token = "token"
    sequence = "sequence"
    geometric = "geometric"


def mismatch_weights(old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor, level: Level) -> Tensor:
    """rho of the token, the product over its sequence, or the geometric mean over its sequence: _N."""
    log_rho_N = log_ratio(old_N, rollout_N).detach()
    if level is Level.sequence:
        log_rho_N = spread(segment_sum(log_rho_N, lengths_B).clamp(-BOUND, BOUND), lengths_B)
    elif level is Level.geometric:
        log_rho_N = spread(segment_mean(log_rho_N, lengths_B), lengths_B)
    return log_rho_N.exp()


def mismatch_metrics(old_N: Tensor, rollout_N: Tensor, weight_N: Tensor) -> dict[str, Tensor]:
    """k1 = -d and k3 = exp(d) - 1 - d with d = old - rollout; their means estimate KL(rollout, trainer)."""
    d_N = (finite(old_N) - finite(rollout_N)).detach()
    bounded_N = d_N.clamp(-BOUND, BOUND)
    return {
        "mismatch_k1": -d_N,
        "mismatch_k3": bounded_N.expm1() - bounded_N,
        "mismatch_abs": d_N.abs(),
        "mismatch_weight": weight_N,
    }


@option("mismatch")
class NoCorrection:
    """Weight 1 for every token: the objectives of GRPO (2402.03300) and DAPO (2503.14476) as written.

    TRL corrects by default (sequence_mask with a maximum of 3).
    """

    name: str = "none"

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        return finite(old_N).detach().new_ones(len(old_N))


@option("mismatch")
class Truncate:
    """Truncated importance sampling, TIS: min(rho, cap), of the token or of the sequence's product.

    From F. Yao et al.'s note (fengyao.notion.site/off-policy-rl); verl's rollout_is, TRL's token_truncate and
    sequence_truncate. A cap of inf (.inf in YAML) is plain importance sampling: unbiased with level=sequence,
    of high variance. OpenRLHF's tis clamps from below as well (floor). verl's default cap is 2; verl can also
    scale the weights of a batch to mean 1, which is not done here.
    """

    name: str = "truncate"
    cap: float = 2.0
    """Largest weight."""
    floor: float = 0.0
    """Smallest weight."""
    level: Level = Level.token
    """token or sequence."""

    def __post_init__(self) -> None:
        require(self.cap > 0, "mismatch.cap", self.cap, "positive")
        require(0 <= self.floor <= self.cap, "mismatch.floor", self.floor, f"in 0..cap ({self.cap})")
        require(self.level is not Level.geometric, "mismatch.level", self.level.value, "token or sequence")

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        return mismatch_weights(old_N, rollout_N, lengths_B, self.level).clamp(self.floor, self.cap)


@option("mismatch")
class Mask:
    """Rejects what lies outside low <= rho <= high, rho of the token, the sequence or its geometric mean.

        weight = (rho of the token, or 1)  if low <= rho at `level` <= high  else 0

    level=token with [0.5, 5] is IcePop (Ring-1T, 2510.18855; verl, OpenRLHF, NeMo-RL); sequence is MIS
    (verl's rollout_rs; TRL's sequence_mask, which weighs what it keeps by the product); geometric with
    [0.999, 1.002] is seq-mask-TIS (NeMo-RL, OpenRLHF). In verl's k1 criterion the bounds are the reciprocals
    of these. verl can also reject by KL, where k1, k2 or k3 of a token, or their sum, mean or maximum over
    the sequence, is above a threshold; that is not done here.
    """

    name: str = "mask"
    low: float = 0.5
    """Below this rho is rejected."""
    high: float = 5.0
    """Above this rho is rejected."""
    level: Level = Level.token
    """Whose rho is compared: token, sequence (product) or geometric (mean over the sequence)."""
    weighted: bool = True
    """Kept tokens weigh their own rho rather than 1."""

    def __post_init__(self) -> None:
        require(0 <= self.low <= 1, "mismatch.low", self.low, "in [0, 1], or exact agreement is rejected")
        require(self.high >= 1, "mismatch.high", self.high, "at least 1, or exact agreement is rejected")

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        compared_N = mismatch_weights(old_N, rollout_N, lengths_B, self.level)
        keep_N = (self.low <= compared_N) & (compared_N <= self.high)
        if not self.weighted:
            return keep_N.to(compared_N.dtype)
        return mismatch_weights(old_N, rollout_N, lengths_B, Level.token).masked_fill(~keep_N, 0)
