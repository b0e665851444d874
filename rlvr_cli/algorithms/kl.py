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
from typing import TYPE_CHECKING, Any, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.kl_schedule import Schedule, adapted, annealed
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
    schedule: Schedule = Schedule.constant
    """How `coef` goes on: constant, linear and cosine to `final_coef`, or adaptive, towards `target_kl`."""
    final_coef: float = 0.0
    """Where linear and cosine end."""
    schedule_steps: int | None = None
    """Steps until then; null: trainer.steps."""
    target_kl: float = 0.1
    """Of adaptive: the KL to hold, in nats per token, as actor/ref_kl measures it."""
    horizon: float = 10_000.0
    """Of adaptive: responses over which an error of a fifth changes the coefficient by a fifth."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, "kl.coef", self.coef, "at least 0")
        for key in ("clamp_log_ratio", "clamp_value", "schedule_steps"):
            bound = getattr(self, key)
            require(bound is None or bound > 0, f"kl.{key}", bound, "positive or null")
        require(self.final_coef >= 0, "kl.final_coef", self.final_coef, "at least 0")
        require(self.target_kl > 0, "kl.target_kl", self.target_kl, "positive")
        require(self.horizon > 0, "kl.horizon", self.horizon, "positive")
        if self.schedule is not Schedule.constant:
            require(self.coef > 0, "kl.coef", self.coef, f"above 0 with schedule={self.schedule.value}")
        self.now = self.coef

    @property
    def needs_reference(self) -> bool:
        return self.coef > 0

    def __call__(self, policy_N: Tensor, ref_N: Tensor) -> Tensor:
        bound = math.inf if self.clamp_log_ratio is None else self.clamp_log_ratio
        limit = math.inf if self.clamp_value is None else self.clamp_value
        return self.now * kl_estimate(policy_N, ref_N, self.estimator, bound).clamp(-limit, limit)

    def begin(self, step: int, steps: int) -> None:
        """Have the coefficient of the step after `step` finished ones, of a run of `steps`."""
        if self.schedule in (Schedule.linear, Schedule.cosine):
            last = self.schedule_steps or steps
            self.now = annealed(self.schedule, self.coef, self.final_coef, step / last)

    def observe(self, kl: float, responses: int) -> None:
        """Call once a step with its mean KL and the number of its responses."""
        if self.schedule is Schedule.adaptive and not math.isnan(kl):  # NaN: a step without an update
            self.now = adapted(self.now, kl, self.target_kl, responses, self.horizon)

    def measured(self) -> dict[str, float]:
        """The metric of a coefficient that changes."""
        return {} if self.schedule is Schedule.constant else {"actor/kl_coef": self.now}

    def state(self) -> dict[str, Any]:
        return {"coef": self.coef, "now": self.now}

    def load(self, state: dict[str, Any]) -> None:
        """Of an adaptive coefficient; a `coef` that was changed in between begins anew."""
        if self.schedule is Schedule.adaptive and state["coef"] == self.coef:
            self.now = float(state["now"])


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
