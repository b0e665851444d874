"""Which groups train. Groups that do not are replaced by freshly sampled ones (dynamic sampling).

Every option maps correct_PG (the first verifier's score) and rewards_PG (after shaping), both float with
NaN for no verdict, to keep_P (bool). Options that drop anything ignore NaN and drop a group of nothing else.
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
    """keep = True: every group trains, those without signal included: they only add zeros to the mean.

    GRPO (2402.03300).
    """

    name: str = "none"
    drops: ClassVar[bool] = False
    """Whether groups may be missing afterwards, so that the batch has to be refilled."""

    def __call__(self, correct_PG: Tensor, rewards_PG: Tensor) -> Tensor:
        return correct_PG.new_ones(len(correct_PG)).bool()


@option("filter")
class ZeroSignal:
    """Dynamic sampling of DAPO (2503.14476): keep = 0 < #correct < G, else the group has no signal.

    With metric=correct (verl's `acc`) a length penalty cannot rescue an all-correct group;
    metric=reward (verl's `seq_reward`) looks at the shaped reward. As in verl, what is dropped is a
    group whose values are all equal, and a group of one sample is kept.

    `training/dynamic_sampling.py` refills until batch.prompts_per_step groups are kept and drops the
    surplus, as verl does. With too few after rollout.max_rounds a step trains on those it has; verl raises
    after max_num_gen_batches (10 in DAPO's scripts, 0: no limit). NeMo-RL has a batch_multiplier of 1.5 (here
    rollout.oversample) and at most 10 batches. TRL has no dynamic sampling; OpenRLHF's goes by the mean
    (`difficulty_band`).
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
    """keep = low < mean(correct) < high, bounds excluded: OpenRLHF's dynamic filtering.

    OpenRLHF takes the mean of the scores (dynamic_filtering_reward_range, 0 and 1). Narrower bounds also
    drop groups that have a signal, as too hard or too easy: a common practice rather than one paper's
    method. With 0 and 1, correctness of 0 or 1 and G > 1 it keeps what zero_signal keeps.
    """

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
