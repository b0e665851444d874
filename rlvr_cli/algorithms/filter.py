"""Which groups train. Groups that do not are replaced by freshly sampled ones (dynamic sampling).

Samples without a verdict (NaN) do not count; a group with none left is dropped.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require

if TYPE_CHECKING:
    from torch import Tensor


class Metric(Enum):
    correct = "correct"
    reward = "reward"


@option("filter")
class KeepAll:
    """Every group trains, those without signal included: they only add zeros to the mean."""

    name: str = "none"
    drops: ClassVar[bool] = False
    """Whether groups may be missing afterwards, so that the batch has to be refilled."""

    def __call__(self, correct_PG: Tensor, rewards_PG: Tensor) -> Tensor:
        return correct_PG.new_ones(len(correct_PG)).bool()


@option("filter")
class ZeroSignal:
    """Dynamic sampling of DAPO (2503.14476): 0 < #correct < G, else the group has no signal.

    With metric=correct (verl's `acc`) a length penalty cannot rescue an all-correct group;
    metric=reward (verl's `seq_reward`) looks at the shaped reward. As in verl, what is dropped is a
    group whose values are all equal, and a group of one sample is kept.
    """

    name: str = "zero_signal"
    metric: Metric = Metric.correct
    """correct (the first verifier's score) or reward (after shaping)."""
    drops: ClassVar[bool] = True

    def __call__(self, correct_PG: Tensor, rewards_PG: Tensor) -> Tensor:
        x_PG = correct_PG if self.metric is Metric.correct else rewards_PG
        missing_PG = x_PG.isnan()
        if x_PG.shape[1] == 1:
            return ~missing_PG[:, 0]
        return x_PG.masked_fill(missing_PG, -math.inf).amax(1) > x_PG.masked_fill(missing_PG, math.inf).amin(
            1
        )


@option("filter")
class DifficultyBand:
    """Keeps groups with low < mean correctness < high, bounds excluded (OpenRLHF's dynamic filtering)."""

    name: str = "difficulty_band"
    low: float = 0.0
    """Groups with a mean correctness up to this are too hard."""
    high: float = 1.0
    """Groups with a mean correctness from this on are too easy."""
    drops: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0 <= self.low < self.high, "filter.low", self.low, f"at least 0 and below high ({self.high})")
        require(self.high <= 1, "filter.high", self.high, "at most 1")

    def __call__(self, correct_PG: Tensor, rewards_PG: Tensor) -> Tensor:
        mean_P = correct_PG.nanmean(1)  # NaN for a group without verdicts, which compares False
        return (self.low < mean_P) & (mean_P < self.high)
