"""Rejection: tokens or whole sequences that are too far from the policy that sampled them weigh 0.

Two questions are apart: what is rejected (`level`, or `statistic` and `over`), and what the rest weighs
(`weight`). All rejection is biased where it rejects, towards the policy that sampled: the more is rejected,
the less is learnt of what has changed. It bounds what a wild ratio can do, and costs no variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.kl import Estimator, kl_estimate
from rlvr_cli.algorithms.mismatch import Level, mismatch_weights
from rlvr_cli.algorithms.proximal import Correction
from rlvr_cli.algorithms.ratio import log_ratio
from rlvr_cli.algorithms.segments import segment_mean, segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


class Weight(Enum):
    none = "none"
    token = "token"
    sequence = "sequence"
    geometric = "geometric"


class Statistic(Enum):
    k2 = "k2"
    k3 = "k3"


class Over(Enum):
    token = "token"
    sum = "sum"
    mean = "mean"
    max = "max"


def none_in_sequence(bad_N: Tensor, lengths_B: Tensor) -> Tensor:
    """bool _N: no token of the token's sequence is bad."""
    return spread(segment_sum(bad_N, lengths_B) == 0, lengths_B)


@dataclass(kw_only=True)
class Rejection(Correction):
    """What the options that reject have in common: the weight of the rest, and a veto of single tokens."""

    weight: Weight = Weight.token
    """What a kept token weighs: none (1), or rho of the token, the sequence (product) or geometric (mean)."""
    cap: float | None = None
    """The weight is at most this; null: no cap. verl's rollout_is_threshold beside rollout_rs."""
    veto_low: float = 0.0
    """A sequence with a token whose rho is below this is rejected whole (slime's veto: 1e-4)."""
    veto_high: float | None = None
    """A sequence with a token whose rho is above this is rejected whole; null: none is."""

    def __post_init__(self) -> None:
        require(self.cap is None or self.cap >= 1, "mismatch.cap", self.cap, "at least 1, or null")
        capped_nothing = self.cap is not None and self.weight is Weight.none
        require(not capped_nothing, "mismatch.cap", self.cap, "null with weight=none, which is 1")
        agrees = "or exact agreement is rejected"
        require(0 <= self.veto_low <= 1, "mismatch.veto_low", self.veto_low, f"in [0, 1], {agrees}")
        high = self.veto_high
        require(high is None or high >= 1, "mismatch.veto_high", high, f"at least 1, {agrees}, or null")

    @property
    def weighs(self) -> bool:
        return self.weight is not Weight.none

    def keeps(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        """bool _N, without the veto."""
        raise NotImplementedError

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        keep_N = self.keeps(old_N, rollout_N, lengths_B)
        if self.veto_low > 0 or self.veto_high is not None:
            rho_N = mismatch_weights(old_N, rollout_N, lengths_B, Level.token)
            high = math.inf if self.veto_high is None else self.veto_high
            keep_N = keep_N & none_in_sequence((rho_N < self.veto_low) | (rho_N > high), lengths_B)
        if self.weight is Weight.none:
            return keep_N.to(log_ratio(old_N, rollout_N).dtype)
        weight_N = mismatch_weights(old_N, rollout_N, lengths_B, Level[self.weight.name])
        if self.cap is not None:
            weight_N = weight_N.clamp(max=self.cap)
        return weight_N.masked_fill(~keep_N, 0)


@option("mismatch")
class Mask(Rejection):
    """Rejects what lies outside low <= rho <= high, rho of the token, the sequence or its geometric mean.

        weight_N = (1, or rho of the token, the sequence or its mean) if low <= rho at `level` <= high else 0

    Corrects what is kept as its weight says; biased by what it rejects. level=token with [0.5, 5] is IcePop
    (Ring-1T, 2510.18855; verl, OpenRLHF, NeMo-RL); sequence is MIS (verl's rollout_rs=seq_sum_k1; TRL's
    sequence_mask, with weight=sequence); geometric with [0.999, 1.002] is seq-mask-TIS (NeMo-RL, OpenRLHF).
    This is rejection by K1 = -log rho, of a token, its sum or its mean: verl compares it with the logarithms
    of its thresholds, so that its bounds are the reciprocals of these.
    """

    name: str = "mask"
    low: float = 0.5
    """Below this rho is rejected."""
    high: float = 5.0
    """Above this rho is rejected."""
    level: Level = Level.token
    """Whose rho is compared: token, sequence (product) or geometric (mean over the sequence)."""

    def __post_init__(self) -> None:
        require(0 <= self.low <= 1, "mismatch.low", self.low, "in [0, 1], or exact agreement is rejected")
        require(self.high >= 1, "mismatch.high", self.high, "at least 1, or exact agreement is rejected")
        super().__post_init__()

    def keeps(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        compared_N = mismatch_weights(old_N, rollout_N, lengths_B, self.level)
        return (self.low <= compared_N) & (compared_N <= self.high)


@option("mismatch")
class Reject(Rejection):
    """Rejects where an estimate of the divergence from the sampling policy is above a limit.

        K2 = log(rho)^2 / 2,  K3 = rho - 1 - log rho, both 0 where policies agree and above 0 elsewhere

    of a token (which is rejected alone), or its sum, mean or maximum over the sequence (which is rejected
    whole). Corrects what is kept as its weight says; biased by what it rejects, and sum against long
    responses. verl's rollout_rs=token_k2, seq_mean_k3 and so on; K1 is `mask`. AReaL's k3 has the two
    policies the other way round: 1 / rho - 1 + log rho.
    """

    name: str = "reject"
    statistic: Statistic = Statistic.k3
    """k2 or k3."""
    over: Over = Over.mean
    """token: each token by itself; sum, mean or max over its sequence."""
    limit: float = 0.01
    """Above this is rejected. Documented for verl: k2 1.5 to 3 (token), 2.5 to 4 (sum), 2 to 2.5 (mean); k3
    0.001 to 0.01 (mean)."""

    def __post_init__(self) -> None:
        require(self.limit >= 0, "mismatch.limit", self.limit, "at least 0, or exact agreement is rejected")
        super().__post_init__()

    def keeps(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        each_N = kl_estimate(rollout_N, old_N, Estimator[self.statistic.name]).detach()
        if self.over is Over.token:
            return each_N <= self.limit
        if self.over is Over.max:
            return none_in_sequence(~(each_N <= self.limit), lengths_B)
        add = segment_sum if self.over is Over.sum else segment_mean
        return spread(add(each_N, lengths_B) <= self.limit, lengths_B)
