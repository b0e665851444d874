"""Losses that drop tokens for more than their ratio: by divergence (DPPO), by their whole response (OPSM).

As in `loss.py`. Some compare with the engine that sampled and take rollout_N besides (`needs_rollout`).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.loss import Clipped, report
from rlvr_cli.algorithms.ratio import finite, log_ratio
from rlvr_cli.algorithms.segments import segment_mean, spread

if TYPE_CHECKING:
    from torch import Tensor


class Divergence(Enum):
    tv = "tv"
    kl = "kl"


class Anchor(Enum):
    rollout = "rollout"
    old = "old"


def behaviour(anchor: Anchor, old_N: Tensor, rollout_N: Tensor | None) -> Tensor:
    """The log-probabilities that `new` is compared with, detached."""
    if anchor is Anchor.old:
        return finite(old_N).detach()
    if rollout_N is None:
        raise ValueError("algorithm.loss.anchor=rollout needs rollout_N")
    return finite(rollout_N).detach()


def binary_kl(before_N: Tensor, new_N: Tensor) -> Tensor:
    """KL(before, new) of "this token or another one", from log-probabilities: _N.

    1e-8 in both complements is the authors'.
    """
    p_N = before_N.exp()
    # expm1, because 1 - p loses all digits of a token that is nearly sure.
    rest_N, new_rest_N = ((-x_N.expm1()).clamp(min=0) + 1e-8 for x_N in (before_N, new_N))
    return p_N * (before_N - new_N) + rest_N * (rest_N / new_rest_N).log()


@option("loss")
class DivergenceMask:
    """DPPO (2602.04879): -w A where the policy stays close, 0 where it has moved too far the way A pushes.

        d = p_new - p_before (tv), or the KL of "this token or not" with the sign of that move (kl)
        dropped where A > 0 and d > delta_high, or A < 0 and d < -delta_low;   w = exp(new - before)

    Corrects what a clip of the ratio gets wrong: it holds back rare tokens that move little (.01 to .04 has
    ratio 4) and lets probable ones go (.9 to .6 has ratio .67). Biased towards the policy that sampled as
    soon as tokens are dropped; without a bound (.inf) it is no mask at all.
    anchor=rollout is the authors' and prime-rl's: w then contains the gap between trainer and engine, so
    `mismatch` must be none. anchor=old leaves that to `mismatch`. verl's dppo_tv and dppo_kl are anchored to
    what it calls old, which is the engine only in its bypass mode, and cap w at clip_ratio_c (3 unless set;
    the authors 10). square_coef is prime-rl's kl_tau (1e-3): + coef (new - before)^2 on every token, kept or
    not. The authors' variant over the K best tokens gains nothing (SkyRL's note) and is not here.
    """

    name: str = "divergence_mask"
    kind: Divergence = Divergence.tv
    """tv: difference of probabilities; kl: Kullback-Leibler."""
    delta_low: float = 0.15
    """With A < 0, how far a token may move down."""
    delta_high: float = 0.15
    """With A > 0, how far a token may move up."""
    anchor: Anchor = Anchor.rollout
    """What new is compared with: rollout, the engine that sampled, or old, the policy at the start of the
    step."""
    cap: float | None = None
    """The ratio counts at most this much; null: no bound."""
    square_coef: float = 0.0
    """Weight of (new - before)^2."""

    def __post_init__(self) -> None:
        for key in ("delta_low", "delta_high", "square_coef"):
            require(getattr(self, key) >= 0, f"loss.{key}", getattr(self, key), "at least 0")
        require(self.cap is None or self.cap >= 1, "loss.cap", self.cap, "at least 1 or null")

    @property
    def needs_rollout(self) -> bool:
        return self.anchor is Anchor.rollout

    @property
    def beyond_advantages(self) -> bool:
        return self.square_coef > 0

    def moved(self, new_N: Tensor, before_N: Tensor) -> Tensor:
        """The divergence, with the sign of p_new - p_before."""
        difference_N = new_N.exp() - before_N.exp()
        if self.kind is Divergence.tv:
            return difference_N
        return binary_kl(before_N, new_N) * difference_N.sign()

    def __call__(
        self,
        new_N: Tensor,
        old_N: Tensor,
        advantages_N: Tensor,
        lengths_B: Tensor,
        rollout_N: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        before_N, new_N = behaviour(self.anchor, old_N, rollout_N), finite(new_N)
        moved_N, gap_N = self.moved(new_N.detach(), before_N), log_ratio(new_N, before_N)
        low_N = (advantages_N < 0) & (moved_N < -self.delta_low)
        high_N = (advantages_N > 0) & (moved_N > self.delta_high)
        ratio_N = gap_N.exp()
        if self.cap is not None:  # the capped ratio as a weight: the value is capped, the gradient stays
            ratio_N = ratio_N.detach().clamp(max=self.cap) * (new_N - new_N.detach()).exp()
        loss_N = (-ratio_N * advantages_N).masked_fill(low_N | high_N, 0)
        if self.square_coef:
            loss_N = loss_N + self.square_coef * gap_N.square()
        return loss_N, report(new_N, old_N, ratio_N, low_N, high_N)


@option("loss")
class OffPolicyMask(Clipped):
    """OPSM (DeepSeek-V3.2, 2512.02556): PPO's clip, without wrong responses that the policy has left.

        dropped where A < 0 and mean_t(before - new) > delta, the mean over the whole response

    Corrects for stale negatives, whose gradient says little of the policy there is now; biased towards the
    positives as soon as one is dropped. Positives stay however stale. The report does not publish delta:
    TRL's docs have .5 (off_policy_mask_threshold, against the engine), slime 1e-4 against old (opsm_delta).
    """

    name: str = "off_policy_mask"
    delta: float = 0.5
    """Nats per token by which a response with A < 0 may have become less likely."""
    anchor: Anchor = Anchor.rollout
    """What new is compared with: rollout (staleness and mismatch) or old (staleness within a step)."""
    by_response: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.delta >= 0, "loss.delta", self.delta, "at least 0")

    @property
    def needs_rollout(self) -> bool:
        return self.anchor is Anchor.rollout

    def __call__(
        self,
        new_N: Tensor,
        old_N: Tensor,
        advantages_N: Tensor,
        lengths_B: Tensor,
        rollout_N: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss_N, metrics = super().__call__(new_N, old_N, advantages_N, lengths_B)
        left_N = behaviour(self.anchor, old_N, rollout_N) - finite(new_N).detach()
        stale_N = spread(segment_mean(left_N, lengths_B) > self.delta, lengths_B)
        metrics["off_policy"] = stale_N & (advantages_N < 0)
        return loss_N.masked_fill(metrics["off_policy"], 0), metrics
