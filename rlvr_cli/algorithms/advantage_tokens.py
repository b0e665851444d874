"""Reward -> advantage token by token: REINFORCE, REINFORCE++ and GAE, and the critic's loss.

A sequence without a verdict (NaN reward) has advantage 0 and stays out of all statistics.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import AdvantageInputs, centred
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import at_end, last, mask, spread, suffix_sum

if TYPE_CHECKING:
    from torch import Tensor


class Baseline(Enum):
    none = "none"
    group = "group"


class WhitenLevel(Enum):
    token = "token"
    sequence = "sequence"


def rewards_to_go(base_PG: Tensor, inputs: AdvantageInputs) -> Tensor:
    """base of the sample + sum of its token rewards from here on (gamma 1), float64; NaN stays: _N."""
    base_N = spread(base_PG.double().flatten(), inputs.lengths_B)
    if inputs.token_rewards_N is None:
        return base_N
    return base_N + suffix_sum(inputs.token_rewards_N, inputs.lengths_B)


def whiten(x_N: Tensor, weights_N: Tensor, ddof: int, eps: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(max(var, eps)) with weighted mean and variance; entries of weight 0 become 0.

    OpenRLHF and NeMo-RL clamp the variance like this; verl adds eps, the same to 1e-8.
    """
    total = weights_N.sum()
    x_N = x_N.masked_fill(weights_N == 0, 0)
    centred_N = x_N - (x_N * weights_N).sum() / total.clamp(min=eps)
    variance = (centred_N.square() * weights_N).sum() / (total - ddof).clamp(min=eps)
    return (centred_N * variance.clamp(min=eps).rsqrt()).masked_fill(weights_N == 0, 0)


@option("advantage")
class Reinforce:
    """REINFORCE without a baseline: A_t = r + rewards-to-go of the tokens.

    Unbiased and of high variance: a control.
    """

    name: str = "reinforce"
    by_token: ClassVar[bool] = True
    needs_group: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = False

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        advantages_N = rewards_to_go(inputs.rewards_PG, inputs)
        return advantages_N.masked_fill(advantages_N.isnan(), 0).to(inputs.rewards_PG.dtype)


@option("advantage")
class BatchWhitened:
    """REINFORCE++ (2501.03262): the batch is the baseline. With b = 0 or the group's mean (-baseline),

        a_t = r - b + rewards-to-go of the tokens;   A_t = (a_t - mean(a)) / std(a)   over the whole batch.

    A long sequence counts once per token (level=token: OpenRLHF and NeMo-RL with ddof 0, verl with
    ddof 1) or each sequence once (level=sequence, as BroRL writes it). ProRL v2 uses the -baseline form.
    """

    name: str = "batch_whitened"
    baseline: Baseline = Baseline.group
    """none: plain REINFORCE++; group: subtract the group's mean first."""
    level: WhitenLevel = WhitenLevel.token
    """What counts once in mean and variance."""
    ddof: int = 0
    """0: population variance; 1: verl's."""
    by_token: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.ddof in (0, 1), "advantage.ddof", self.ddof, "0 or 1")

    @property
    def needs_group(self) -> bool:
        return self.baseline is Baseline.group

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        base_PG = inputs.rewards_PG.double()
        advantages_N = rewards_to_go(centred(base_PG) if self.needs_group else base_PG, inputs)
        weights_N = (~advantages_N.isnan()).double()
        if self.level is WhitenLevel.sequence:
            weights_N = weights_N / spread(inputs.lengths_B, inputs.lengths_B)
        return whiten(advantages_N, weights_N, self.ddof).to(inputs.rewards_PG.dtype)


def generalized_advantages(
    rewards_N: Tensor, values_N: Tensor, after_B: Tensor, lengths_B: Tensor, gamma: float, lam: float
) -> Tensor:
    """delta_t = r_t + gamma * V_{t+1} - V_t;  A_t = delta_t + gamma * lam * A_{t+1}: _N.

    after_B is the value that follows the last token. Only response tokens are laid out, so tool or
    observation tokens in between are skipped by themselves.
    """
    mask_BT = mask(lengths_B)
    rewards_BT, values_BT = (x_N.new_zeros(mask_BT.shape) for x_N in (rewards_N, values_N))
    rewards_BT[mask_BT], values_BT[mask_BT] = rewards_N, values_N
    advantages_BT, next_value_B, advantage_B = values_BT.clone(), after_B, values_N.new_zeros(len(lengths_B))
    for t in reversed(range(mask_BT.shape[1])):
        here_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        advantage_B = (delta_B + gamma * lam * advantage_B).where(here_B, advantage_B)
        next_value_B = values_BT[:, t].where(here_B, next_value_B)
        advantages_BT[:, t] = advantage_B
    return advantages_BT[mask_BT]


@option("advantage")
class GAE:
    """Generalised advantage estimation (1506.02438) with a critic, as PPO (1707.06347) uses it.

    The reward arrives at the last token. After it comes V = 0 (verl treats a truncated response as
    ended) or, with bootstrap_truncated, the last value again (AReaL). Whitening is over all tokens with
    ddof 1 (verl); returns for the critic are not whitened.
    """

    name: str = "gae"
    gamma: float = 1.0
    """Discount."""
    lam: float = 1.0
    """Lambda: 1 trusts the rewards (Monte Carlo), 0 the critic."""
    whiten: bool = True
    """Bring the advantages of the batch to mean 0 and variance 1."""
    bootstrap_truncated: bool = False
    """Let a truncated response go on with the critic's last value."""
    value_clip: float | None = 0.5
    """For the critic's loss: how far a value may move from the old one and be better off; null: any way."""
    by_token: ClassVar[bool] = True
    needs_group: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0 < self.gamma <= 1, "advantage.gamma", self.gamma, "in (0, 1]")
        require(0 <= self.lam <= 1, "advantage.lam", self.lam, "in [0, 1]")
        clip = self.value_clip
        require(clip is None or clip > 0, "advantage.value_clip", clip, "positive or null")

    def estimate(self, inputs: AdvantageInputs) -> tuple[Tensor, Tensor]:
        """Unwhitened advantages and the critic's targets A + V, float64: _N, _N."""
        if inputs.values_N is None:
            raise ValueError("gae needs values_N, the critic's values")
        # In float64: sums over thousands of tokens lose everything in half precision.
        values_N, lengths_B = inputs.values_N.detach().double(), inputs.lengths_B
        rewards_B = inputs.rewards_PG.flatten().double()
        rewards_N = at_end(rewards_B.masked_fill(rewards_B.isnan(), 0), lengths_B)
        if inputs.token_rewards_N is not None:
            rewards_N = rewards_N + inputs.token_rewards_N
        after_B = values_N.new_zeros(len(lengths_B))
        if self.bootstrap_truncated:
            if inputs.finished_B is None:
                raise ValueError("gae with bootstrap_truncated needs finished_B")
            after_B = last(values_N, lengths_B).masked_fill(inputs.finished_B, 0)
        advantages_N = generalized_advantages(rewards_N, values_N, after_B, lengths_B, self.gamma, self.lam)
        return advantages_N, advantages_N + values_N

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        advantages_N, _ = self.estimate(inputs)
        scored_N = spread(~inputs.rewards_PG.flatten().isnan(), inputs.lengths_B)
        if self.whiten:
            advantages_N = whiten(advantages_N, scored_N.double(), ddof=1)
        return advantages_N.masked_fill(~scored_N, 0).to(inputs.rewards_PG.dtype)


def value_loss(values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, clip: float | None) -> Tensor:
    """PPO's critic loss 0.5 * max((V - R)^2, (clamp(V, V_old +- clip) - R)^2); None: no clip. Returns _N."""
    loss_N = (values_N - returns_N).square()
    if clip is not None:
        near_N = old_values_N + (values_N - old_values_N).clamp(-clip, clip)
        loss_N = loss_N.maximum((near_N - returns_N).square())
    return loss_N / 2
