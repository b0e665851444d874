"""Weights for the gap between the trainer and the policy that sampled: rho = exp(old - rollout).

The gap has two sources: engine and trainer round differently, and with `rollout.max_staleness` the sampling
weights are older. Every option maps old_N, rollout_N (float log-probabilities of the sampled tokens) and
lengths_B to weight_N. The weight is detached and multiplies the token's policy loss; which policy stands for
`old`, and which one the PPO ratio is taken to, says `proximal` (proximal.py). Where both policies agree every
option is exactly 1. Rejected tokens weigh 0 but stay in the normaliser (as in AReaL, TRL, slime, OpenRLHF),
so that rejecting does not inflate the rest; in verl they leave the mask, which shrinks the denominator unless
a global count is passed. Bounds are on rho itself, whatever statistic a source states them for.
Log-ratios are clamped to +-20, per token and, for sequence products, again in total.

Rejection stands in mismatch_rejection.py, what is measured in mismatch_metrics.py.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.proximal import Correction, Proximal
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


@option("mismatch")
class NoCorrection(Correction):
    """Weight 1 for every token: the objectives of GRPO (2402.03300) and DAPO (2503.14476) as written.

    Corrects nothing, and is biased wherever samples are not of the policy that is trained. With
    proximal=rollout and a clipped loss it is verl's bypass_ppo_clip: the ratio new / rollout corrects, as far
    as its clip lets it. TRL corrects by default (sequence_mask with a maximum of 3).
    """

    name: str = "none"

    @property
    def weighs(self) -> bool:
        return False

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        return finite(old_N).detach().new_ones(len(old_N))


@option("mismatch")
class Truncate(Correction):
    """Truncated importance sampling, TIS: clamp(rho, floor, cap), rho of the token, the sequence or its mean.

    Corrects each action's probability (token) or that of the whole response (sequence). Biased where the cap
    or the floor acts; token also in which states are visited, a bias that grows with length times distance;
    geometric, a weight without an expectation of its own, everywhere. From F. Yao et al.'s note
    (fengyao.notion.site/off-policy-rl); verl's rollout_is, TRL's token_truncate and sequence_truncate. A cap
    of inf (.inf in YAML) is plain importance sampling: unbiased with level=sequence, of high variance.
    OpenRLHF's tis clamps from below as well (floor). verl's default cap is 2.
    """

    name: str = "truncate"
    cap: float = 2.0
    """Largest weight."""
    floor: float = 0.0
    """Smallest weight."""
    level: Level = Level.token
    """Whose rho is the weight: token, sequence (product) or geometric (mean over the sequence)."""
    normalise: bool = False
    """Divide the weights by their mean over the update, after truncation: over tokens, or over sequences
    where the level is one (verl's rollout_is_batch_normalize). Keeps the size of steps where most weights are
    small; biased, as the mean depends on the samples."""

    def __post_init__(self) -> None:
        require(self.cap > 0, "mismatch.cap", self.cap, "positive")
        require(0 <= self.floor <= self.cap, "mismatch.floor", self.floor, f"in 0..cap ({self.cap})")
        require(
            not self.normalise or self.proximal is Proximal.old,
            "mismatch.normalise",
            self.normalise,
            f"false with proximal={self.proximal.value}, whose weights move within an update: no mean of "
            "them is the update's",
        )

    @property
    def needs_old_logprobs(self) -> bool:
        return self.normalise

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        return mismatch_weights(old_N, rollout_N, lengths_B, self.level).clamp(self.floor, self.cap)

    def whole_update(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor, trained_N: Tensor) -> Tensor:
        """1 / mean weight at every token, of all tokens of an update: no micro-batch could know it."""
        weight_N = self(old_N, rollout_N, lengths_B)
        if self.level is Level.token:
            mean = weight_N[trained_N].double().mean()
        else:  # a weight for each sequence, however long
            trained_B = segment_sum(trained_N, lengths_B)
            each_B = segment_sum(weight_N.double() * trained_N, lengths_B) / trained_B.clamp(min=1)
            mean = each_B[trained_B > 0].mean()
        return weight_N.new_full((len(weight_N),), 1.0) / mean.to(weight_N.dtype)
