"""Values of a user's reward function among scores in [0, 1]: what maps those leaves these alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core.types import Group
from rlvr_cli.sampling.collect import OffScale


def on_scale(groups: list[Group], shaping: Any, scores_PG: Tensor) -> tuple[Any, Tensor]:
    """A shaping and scores for it such that `correct` and `wrong` map scores in [0, 1] only.

    A reward is wrong + (correct - wrong) * s of a sample's scores in [0, 1], where it has any, plus its
    values on a scale of their own; then comes the shaping's own term. Without such values both are as given.
    """
    if not any(group.scales for group in groups):
        return shaping, scores_PG
    wrong, span = shaping.wrong, shaping.correct - shaping.wrong
    mapped = [
        [raw if score is None else wrong + span * score + raw for score, raw in group.scales]
        if group.scales
        else [wrong + span * score for score in group.scores]
        for group in groups
    ]
    # A sample without any verdict stays without: it has no part on either scale.
    found_PG = torch.tensor(mapped, dtype=torch.float64).masked_fill(scores_PG.isnan(), float("nan"))
    return replace(shaping, correct=1.0, wrong=0.0), found_PG


def check_scale(groups: list[Group], algorithm: Any, correct_PG: Tensor, rewards_PG: Tensor) -> None:
    """OffScale where a user's values are not what a part of the algorithm computes with."""
    if not any(group.scales for group in groups):
        return
    least = float(rewards_PG.nan_to_num(0.0).min())
    low, high = float(correct_PG.nan_to_num(0.0).min()), float(correct_PG.nan_to_num(0.0).max())
    value = low if low < 0 else high
    off = not 0 <= low <= high <= 1
    remedy = "let the function return such a number as `acc` beside the reward"
    if off and algorithm.filter.name == "difficulty_band":
        raise OffScale(
            f"algorithm.filter=difficulty_band goes by scores from 0 to 1, and a verifier gave {value:g}: "
            f"{remedy}, or take algorithm/filter=zero_signal"
        )
    if off and algorithm.reweight.needs_group:
        raise OffScale(
            f"algorithm.reweight={algorithm.reweight.name} goes by scores from 0 to 1, and a verifier gave "
            f"{value:g}: {remedy}, or take algorithm/reweight=none"
        )
    if least < 0 and algorithm.advantage.name == "maxrl":
        raise OffScale(
            "algorithm.advantage=maxrl divides by the mean reward and needs rewards of 0 and more; one is "
            f"{least:g}"
        )
    if least < 0 and 0 <= getattr(algorithm.shaping, "coef", -1.0) < 1:
        raise OffScale(
            f"algorithm.shaping.coef={algorithm.shaping.coef:g} makes a truncated response with a reward of "
            f"{least:g} better than a finished one: set a negative coef, or another shaping"
        )
