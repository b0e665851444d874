"""Reward -> advantage where several verifiers judge a sample: each reward compared by itself.

As in `advantage.py`. Samples without a verdict stay out of all statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import AdvantageInputs, broadcast, centred, deviation
from rlvr_cli.algorithms.check import require

if TYPE_CHECKING:
    from torch import Tensor


@option("advantage")
class SeparateRewards:
    """GDPO (2601.05242): the z-score of each reward within its group, weighted, added up, and whitened.

        A_i = sum_v |w_v| (x_vi - mean(x_v)) / (std(x_v) + eps),   x_vi = w_v times the verifier's score

    and then (A - mean) / (std + eps) over all samples of the step. Corrects: a z-score of the sum merges what
    differs, as rewards of 1 + 0 and 0 + 1 are one number, and the reward with the larger spread drowns the
    others. Biased: a verifier that nearly all samples of a group satisfy weighs as much as one that half of
    them do, its rare failure most of all. With one verifier it is GRPO, whitened.

    Verifiers with gate=true multiply the others, as they do in the sum. One that has no say about a sample
    compares the samples it has a say about. verl whitens over tokens, TRL (normalize_then_sum) over
    sequences with eps 1e-4, NeMo-RL over sequences with a leave-one-out baseline.
    """

    name: str = "separate_rewards"
    ddof: int = 1
    """1: sample standard deviation; 0: population."""
    eps: float = 1e-6
    """Added to standard deviations."""
    whiten: bool = True
    """Divide by the deviation over the step, so that the number of verifiers is no factor of the learning
    rate."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False
    needs_parts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.ddof in (0, 1), "advantage.ddof", self.ddof, "0 or 1")
        require(self.eps >= 0, "advantage.eps", self.eps, "at least 0")

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        if inputs.parts is None:
            raise ValueError("algorithm.advantage=separate_rewards needs the verifiers' scores (parts)")
        unknown_PG = inputs.rewards_PG.isnan()
        total_PG = inputs.rewards_PG.double().masked_fill(~unknown_PG, 0)
        for weight, x_PG in inputs.parts.values():
            x_PG = x_PG.double().masked_fill(unknown_PG, float("nan"))
            score_PG = centred(x_PG) / (deviation(x_PG, self.ddof) + self.eps)
            total_PG = total_PG + abs(weight) * score_PG.masked_fill(score_PG.isnan(), 0)
        if self.whiten:
            step = total_PG.reshape(1, -1)
            total_PG = (centred(step) / (deviation(step, self.ddof) + self.eps)).view_as(total_PG)
        return broadcast(total_PG, inputs)
