"""Penalty towards the reference policy, from the sampled tokens alone. With d = new - ref:

    k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d        abs = |d|

Which one is right depends on where it goes, as only the value or only the gradient may be unbiased:

| use | k1 | k2 | k3 |
|---|---|---|---|
| value, samples from the policy | unbiased, any sign, noisy | biased | unbiased, >= 0 |
| loss term (autograd) | expected gradient 0 | that of KL(policy, ref) | that of KL(ref, policy) |
| reward (detached) | that of KL(policy, ref) | approximate | biased |

Exactly, for p = (.5, .3, .2) and ref (.4, .4, .2): KL(p, ref) = E k1 = E k3 = .0252672, E k2 = .0248624;
the gradient of KL with respect to the logits is (.098938, -.093885, -.005053) = E grad k2, while
E grad k1 = 0 and E grad k3 = (.1, -.1, 0). k3 grows like exp(-d) where the reference finds a token
far more likely than the policy, hence the clamps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.ratio import BOUND, log_ratio

if TYPE_CHECKING:
    from torch import Tensor


class Estimator(Enum):
    k1 = "k1"
    k2 = "k2"
    k3 = "k3"
    abs = "abs"


def kl_estimate(new_N: Tensor, ref_N: Tensor, estimator: Estimator, bound: float = BOUND) -> Tensor:
    """The estimator at each token, with d clamped to +-bound: _N."""
    d_N = log_ratio(new_N, ref_N, bound)
    match estimator:
        case Estimator.k1:
            return d_N
        case Estimator.k2:
            return d_N.square() / 2
        case Estimator.k3:
            return (-d_N).expm1() + d_N
        case Estimator.abs:
            return d_N.abs()


@dataclass(kw_only=True)
class Penalty:
    """What both places of the penalty share: coef * estimate of each token, clamped."""

    coef: float = 1e-3
    """Weight of the penalty; 0 switches it, and the reference policy, off."""
    estimator: Estimator = Estimator.k2
    """k1, k2, k3 or abs."""
    clamp_log_ratio: float | None = BOUND
    """d is held within +- this (verl and NeMo-RL 20, OpenRLHF and AReaL 10); null: no bound."""
    clamp_value: float | None = None
    """The estimate is held within +- this (verl: 10, of k3 only; NeMo-RL: 10), without gradient past it: 10
    stops k3 where d < -2.57 and k2 where |d| > 4.47. null: no bound (OpenRLHF, TRL)."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, "kl.coef", self.coef, "at least 0")
        for key in ("clamp_log_ratio", "clamp_value"):
            bound = getattr(self, key)
            require(bound is None or bound > 0, f"kl.{key}", bound, "positive or null")

    @property
    def needs_reference(self) -> bool:
        return self.coef > 0

    def __call__(self, policy_N: Tensor, ref_N: Tensor) -> Tensor:
        bound = math.inf if self.clamp_log_ratio is None else self.clamp_log_ratio
        limit = math.inf if self.clamp_value is None else self.clamp_value
        return self.coef * kl_estimate(policy_N, ref_N, self.estimator, bound).clamp(-limit, limit)


@option("kl")
class NoKL:
    """No penalty and no reference policy."""

    name: str = "none"
    in_loss: ClassVar[bool] = False
    in_reward: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False

    def __call__(self, policy_N: Tensor, ref_N: Tensor) -> Tensor:
        return policy_N.new_zeros(len(policy_N))


@option("kl")
class MeasuredKL(NoKL):
    """No penalty, but a reference policy, so that `actor/ref_kl` shows how far the policy has moved."""

    name: str = "measured"
    needs_reference: ClassVar[bool] = True


@option("kl")
class KLLoss(Penalty):
    """loss_t + coef * k_t, aggregated and masked like the policy loss.

    GRPO uses k3, whose gradient is that of the forward KL(ref, policy); REINFORCE++ and ProRL v2 use k2,
    with the gradient of KL(policy, ref). k1 does nothing in expectation.
    """

    name: str = "loss"
    in_loss: ClassVar[bool] = True
    in_reward: ClassVar[bool] = False


@option("kl")
class KLReward(Penalty):
    """token reward -coef * k_t with the policy that sampled: PPO for language models, RLOO, REINFORCE++.

    The loop passes token_rewards(old_N, ref_N) to the advantage.
    """

    name: str = "reward"
    estimator: Estimator = Estimator.k1
    """k1, k2, k3 or abs; k1 is the one with the right gradient here."""
    in_loss: ClassVar[bool] = False
    in_reward: ClassVar[bool] = True

    def token_rewards(self, old_N: Tensor, ref_N: Tensor) -> Tensor:
        return -self(old_N, ref_N).detach()
