"""Losses with a smooth or averaged weight in the place of PPO's hard clip: SAPO, GMPO, TOPR, VESPO, DRO.

As in `loss.py`. Sequence ratios are over one response, so no split of an update changes them.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.loss import report
from rlvr_cli.algorithms.ratio import BOUND, finite, log_ratio
from rlvr_cli.algorithms.segments import segment_mean, segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


class RatioLevel(Enum):
    sequence = "sequence"
    token = "token"


def log_product(new_N: Tensor, old_N: Tensor, lengths_B: Tensor, lowest: float = -BOUND) -> Tensor:
    """log of the product of a response's ratios, held within lowest..20, at each of its tokens: _N."""
    total_B = segment_sum(log_ratio(new_N, old_N).detach(), lengths_B)
    return spread(total_B.clamp(lowest, BOUND), lengths_B)


def never(advantages_N: Tensor) -> Tensor:
    return advantages_N.new_zeros(len(advantages_N)).bool()


@option("loss")
class SoftGate:
    """SAPO (2511.20347): -(4 / tau) sigmoid(tau (w - 1)) A, tau by the sign of A.

    The weight on A grad(new) is 4 s (1 - s) w with s the sigmoid: 1 at w = 1, and it fades on both sides
    instead of becoming 0. Corrects the loss of gradient at a hard clip; biased wherever w is not 1. With
    tau 1 it rises until w is about 2 and is looser than PPO's clip there. The value at w = 1 is 2 A (A > 0)
    and 4 / (2 tau_negative) A, so a loss that is not 0 in the first update is right. verl, TRL and SkyRL
    agree on the defaults and on seq_mean_token_mean; AReaL takes token_mean.
    """

    name: str = "soft_gate"
    tau_positive: float = 1.0
    """Temperature of tokens with A > 0."""
    tau_negative: float = 1.05
    """Temperature of the others: above tau_positive their weight fades sooner."""

    def __post_init__(self) -> None:
        for key in ("tau_positive", "tau_negative"):
            require(getattr(self, key) > 0, f"loss.{key}", getattr(self, key), "above 0")

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        ratio_N = log_ratio(new_N, old_N).exp()
        positive = ratio_N.new_full((), self.tau_positive)
        tau_N = positive.where(advantages_N > 0, ratio_N.new_full((), self.tau_negative))
        gate_N = (tau_N * (ratio_N - 1)).sigmoid()
        weight_N = (4 * gate_N * (1 - gate_N) * ratio_N).detach()
        metrics = report(new_N, old_N, weight_N, never(advantages_N), never(advantages_N))
        return -4 / tau_N * gate_N * advantages_N, metrics


@option("loss")
class GeometricClip:
    """GMPO (2507.20673): -s A, s the geometric mean of a response's ratios, each clipped on its own first.

        d = new - old;   A > 0: min(d, log_clip_high);   A < 0: max(d, -log_clip_low);   s = exp(mean_t(d))

    GSPO averages, then clips. A clipped token loses its own gradient and still scales its response. Corrects
    for outlying tokens, which a mean of ratios would follow; biased as a geometric mean is. 0.4 holds ratios
    within .67..1.49. Needs one advantage for a whole response, and seq_mean_token_mean, under which it is
    the paper's. verl (geo_mean) takes a plain mean over the micro-batch.
    """

    name: str = "geometric_clip"
    log_clip_low: float = 0.4
    """Log-ratios of tokens with A < 0 count as at least minus this."""
    log_clip_high: float = 0.4
    """Log-ratios of tokens with A > 0 count as at most this."""
    whole_response: ClassVar[bool] = True
    by_response: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for key in ("log_clip_low", "log_clip_high"):
            require(getattr(self, key) >= 0, f"loss.{key}", getattr(self, key), "at least 0")

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        gap_N = log_ratio(new_N, old_N, math.inf)
        low_N = (advantages_N < 0) & (gap_N.detach() < -self.log_clip_low)
        high_N = (advantages_N > 0) & (gap_N.detach() > self.log_clip_high)
        gap_N = gap_N.masked_fill(low_N, -self.log_clip_low).masked_fill(high_N, self.log_clip_high)
        ratio_N = spread(segment_mean(gap_N, lengths_B).clamp(-BOUND, BOUND).exp(), lengths_B)
        return -ratio_N * advantages_N, report(new_N, old_N, ratio_N, low_N, high_N)


@option("loss")
class Tapered:
    """TOPR (2503.14286): -weight A new, weight 1 with A > 0 and min(w, 1) with A < 0, both detached.

    w is the product over the response (level=sequence, the paper) or the token's (level=token, ROLL's).
    Corrects off-policy negatives, whose gradient would diverge: they die away as the policy leaves them.
    Biased for positives, which are plain likelihood. The loss's value means nothing. A baseline in A sets
    how much positives count together.
    """

    name: str = "tapered"
    level: RatioLevel = RatioLevel.sequence
    """Whose ratio: sequence (product over the response) or token."""

    @property
    def by_response(self) -> bool:
        return self.level is RatioLevel.sequence

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.level is RatioLevel.sequence:
            log_N = log_product(new_N, old_N, lengths_B)
        else:
            log_N = log_ratio(new_N, old_N).detach()
        ratio_N, negative_N = log_N.exp(), advantages_N < 0
        weight_N = ratio_N.clamp(max=1).where(negative_N, ratio_N.new_ones(()))
        metrics = report(new_N, old_N, weight_N, never(advantages_N), negative_N & (ratio_N > 1))
        return -weight_N * advantages_N * finite(new_N), metrics


@option("loss")
class SequenceBell:
    """VESPO (2602.10693): -phi A new with phi = W^k exp(lambda (1 - W)), W the response's product of ratios.

    phi is detached, 1 at W = 1, has its top at k / lambda and falls on both sides. Corrects the variance of
    whole importance weights; biased wherever phi is not W. W is not normalised by length, so long responses
    leave the bell at once: for nearly on-policy samples and engines that agree well. The value means nothing.
    The authors' code has (2, 3) and (3, 2); their docstring others.
    """

    name: str = "sequence_bell"
    k_positive: float = 2.0
    """Exponent with A > 0."""
    lambda_positive: float = 3.0
    """Decay with A > 0."""
    k_negative: float = 3.0
    """Exponent with A < 0."""
    lambda_negative: float = 2.0
    """Decay with A < 0."""
    by_response: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for key in ("k_positive", "lambda_positive", "k_negative", "lambda_negative"):
            require(getattr(self, key) >= 0, f"loss.{key}", getattr(self, key), "at least 0")

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        log_N = log_product(new_N, old_N, lengths_B, math.log(1e-8))
        up_N = self.k_positive * log_N + self.lambda_positive * (1 - log_N.exp())
        down_N = self.k_negative * log_N + self.lambda_negative * (1 - log_N.exp())
        weight_N = up_N.where(advantages_N >= 0, down_N).exp()
        metrics = report(new_N, old_N, weight_N, never(advantages_N), never(advantages_N))
        return -weight_N * advantages_N * finite(new_N), metrics


@option("loss")
class SquaredRatio:
    """DRO (verl's and tinker's `dro`): -(A new - beta / 2 (new - old)^2).

    The step towards the best policy under a KL penalty of weight beta to where the step began, as a squared
    error: Kimi k1.5's policy step is the same with A = r - mean(r). Corrects nothing; the square takes the
    place of a clip and biases towards the old policy. beta must be given: there is no published default.
    """

    name: str = "squared_ratio"
    beta: float | None = None
    """Weight of the square; it must be given."""
    beyond_advantages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.beta is None or self.beta > 0, "loss.beta", self.beta, "above 0")

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.beta is None:
            raise ValueError("algorithm.loss.beta is null; it must be above 0")
        gap_N = log_ratio(new_N, old_N)
        metrics = report(new_N, old_N, gap_N.exp(), never(advantages_N), never(advantages_N))
        return -advantages_N * finite(new_N) + self.beta / 2 * gap_N.square(), metrics
