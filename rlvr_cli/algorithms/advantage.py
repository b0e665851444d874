"""Reward -> advantage by comparing the samples of one prompt.

Every option maps AdvantageInputs (below; rewards_PG float, NaN: no verdict) to advantages_N, in the dtype
of the rewards. Mean and std run over the G samples of a prompt, _PG -> _P1; in this file all tokens of a
sample get the same advantage.

Statistics are computed in float64 and ignore samples without a verdict (NaN reward), whose own
advantage is 0 (as in TRL). A sample alone in its group gets 0 as well, and recipes that would
have such groups throughout are refused (batch.group_size=1, see `check.py`).

KL in the reward (token_rewards_N) is added to the sample's reward before comparing, as verl and
TRL's RLOO do. Estimators that keep it per token are in `advantage_tokens.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


class Scale(Enum):
    group = "group"
    batch = "batch"


@dataclass(slots=True, kw_only=True)
class AdvantageInputs:
    """All that an estimator may look at; B = P * G, row-major."""

    rewards_PG: Tensor
    """Shaped rewards; NaN where there is no verdict."""
    lengths_B: Tensor
    token_rewards_N: Tensor | None = None
    """Rewards of single tokens, e.g. -coef * KL when the KL penalty is part of the reward."""
    values_N: Tensor | None = None
    """The critic's values."""
    finished_B: Tensor | None = None
    """False where the response was truncated."""
    logprobs_N: Tensor | None = None
    """Of the sampled tokens under the rollout engine."""
    old_logprobs_N: Tensor | None = None
    """Of the sampled tokens under the policy, where something needs them (`needs_old_logprobs`)."""
    ref_logprobs_N: Tensor | None = None
    """Under the reference, where there is one."""
    state_values_N: Tensor | None = None
    """Value of the state before a token as sampled continuations measure it; NaN where they did not."""
    places_N: Tensor | None = None
    """Where in its response each token stands, from 0 on, where responses are the leaves of a tree."""
    parts: dict[str, tuple[float, Tensor]] | None = None
    """Where the option asks for parts: verifier -> its weight, and what it adds to each score (_PG, weight
    and gates included; NaN where it has no say)."""
    turns: tuple[Tensor, Tensor, Tensor] | None = None
    """Where the option asks for turns: how many each sample has (_B), and of all turns, one after the other,
    their sampled tokens and the states they began in (int64; equal states of a group are equal numbers)."""


def outcomes(inputs: AdvantageInputs) -> Tensor:
    """Reward of each whole sample, its token rewards included, float64: _PG."""
    outcomes_PG = inputs.rewards_PG.double()
    if inputs.token_rewards_N is None:
        return outcomes_PG
    return outcomes_PG + segment_sum(inputs.token_rewards_N, inputs.lengths_B).view_as(outcomes_PG)


def centred(x_PG: Tensor) -> Tensor:
    """x minus the group's mean, exactly 0 for equal values.

    Hence the shift by the maximum first: the mean of equal rewards such as 0.1 can be off by one
    rounding, and dividing that by a standard deviation near 0 would make a signal of it.
    """
    x_PG = x_PG - x_PG.masked_fill(x_PG.isnan(), -math.inf).amax(1, keepdim=True)
    return x_PG - x_PG.nanmean(1, keepdim=True)


def deviation(x_PG: Tensor, ddof: int) -> Tensor:
    """Standard deviation of each row, _P1; 0 for a row with a single value."""
    count_P1 = (~x_PG.isnan()).sum(1, keepdim=True)
    return (centred(x_PG).square().nansum(1, keepdim=True) / (count_P1 - ddof).clamp(min=1)).sqrt()


def broadcast(advantages_PG: Tensor, inputs: AdvantageInputs) -> Tensor:
    """One advantage for all tokens of a sample, 0 where there is none."""
    advantages_B = advantages_PG.masked_fill(advantages_PG.isnan(), 0).flatten()
    return spread(advantages_B.to(inputs.rewards_PG.dtype), inputs.lengths_B)


@option("advantage")
class GroupZScore:
    """GRPO (DeepSeekMath, 2402.03300): A_i = (r_i - mean(r)) / (std(r) + eps).

    Implementations differ in the std, which the paper leaves open (and has no eps): verl ddof 1, eps 1e-6;
    TRL ddof 1, eps 1e-4; OpenRLHF ddof 1, eps 1e-9; oat (Dr.GRPO's code) ddof 1, eps 1e-8; SPO's baseline
    ddof 0, eps 1e-8; NeMo-RL leave-one-out mean and std, divided only where std > 0, eps 1e-6; AReaL mean
    and std each of the group, the batch or none, leave-one-out or not; prime-rl no std (`group_centered`).
    scale_by=batch divides by the std of all rewards of the step (TRL's scale_rewards=batch).
    Equal rewards give exactly 0 (the paper's formula: 0 / 0). A group of one gives 0, as in NeMo-RL (verl:
    A = r; TRL refuses to train; OpenRLHF: NaN).
    """

    name: str = "group_zscore"
    ddof: int = 1
    """1: sample standard deviation; 0: population."""
    eps: float = 1e-6
    """Added to the standard deviation."""
    scale_by: Scale = Scale.group
    """Standard deviation of the group or of the whole batch."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.ddof in (0, 1), "advantage.ddof", self.ddof, "0 or 1")
        require(self.eps >= 0, "advantage.eps", self.eps, "at least 0")

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        r_PG = outcomes(inputs)
        std = deviation(r_PG if self.scale_by is Scale.group else r_PG.reshape(1, -1), self.ddof)
        return broadcast(centred(r_PG) / (std + self.eps), inputs)


@option("advantage")
class GroupCentered:
    """Dr.GRPO (2503.20783): A_i = r_i - mean(r).

    Without the std, prompts that are almost always right or wrong are not weighted up. It is the
    leave-one-out advantage times (G - 1) / G, a factor the learning rate absorbs. A group of one gives 0.

    Dr.GRPO is this and aggregation=constant. verl: norm_adv_by_std_in_grpo=False and
    loss_agg_mode=seq-mean-token-sum-norm. TRL: scale_rewards=none, as loss_type=dr_grpo alone still divides
    by the std. OpenRLHF's dr_grpo drops the std only; tokens still add up as a token or sample mean.
    prime-rl's default is this with token_mean.
    """

    name: str = "group_centered"
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        return broadcast(centred(outcomes(inputs)), inputs)


@option("advantage")
class LeaveOneOut:
    """RLOO (2402.14740): A_i = r_i - mean_{j != i}(r_j) = G / (G - 1) * (r_i - mean(r)), unbiased.

    A sample alone in its group has no baseline and gets 0 (verl's `rloo` returns the reward itself,
    its `rloo_vectorized` 0).

    The paper takes one step per batch without a clip, with a k1 KL in the reward (loss=reinforce, kl=reward).
    verl and OpenRLHF keep PPO's clip of tokens (loss=clipped), TRL clips the ratio of the whole response.
    TRL subtracts the KL per sequence, as here, and can whiten the advantages over the batch.
    """

    name: str = "leave_one_out"
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        r_PG = outcomes(inputs)
        count_P1 = (~r_PG.isnan()).sum(1, keepdim=True)
        return broadcast(centred(r_PG) * count_P1 / (count_P1 - 1).clamp(min=1), inputs)


@option("advantage")
class MaxRL:
    """Maximum likelihood RL (2602.02710): A_i = (r_i - mean(r)) / mean(r); 0 where the mean is not positive.

    Dividing by the pass rate makes the expected gradient that of log p (log-likelihood of being right)
    up to order G instead of that of p: hard prompts weigh 1 / p. Only for rewards of 0 and more.
    """

    name: str = "maxrl"
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        r_PG = outcomes(inputs)
        mean_P1 = r_PG.nanmean(1, keepdim=True)
        return broadcast((centred(r_PG) / mean_P1).masked_fill(~(mean_P1 > 0), 0), inputs)
