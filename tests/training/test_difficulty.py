"""What HA-DW did to advantages, as the metrics of a step show it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from f1 import algorithm

from rlvr_cli.algorithms.reweight import HistoryDifficulty, NoReweight
from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.schema import Rollout
from rlvr_cli.training.batches import make_batches
from rlvr_cli.training.metrics import difficulty_metrics


def group(correct: list[float]) -> Group:
    """Rewarded with -1 and 1."""
    problem = Problem(id="1", prompt="", tokens=[1], answer="", source="s", verifiers=["v"])
    one = Completion(tokens=np.zeros(2, np.int32), logprobs=np.zeros(2, np.float32), text="", finished=True)
    rewards = [2 * c - 1 for c in correct]
    return Group(
        problem=problem,
        index=0,
        completions=[one] * len(correct),
        correct=correct,
        first_scores=correct,
        rewards=rewards,
    )


def corrections(groups: list[Group], anchor: float) -> dict[str, float]:
    reweight = HistoryDifficulty(scale=1.3)
    reweight.observe(anchor)
    parts = SimpleNamespace(
        recipe=SimpleNamespace(
            algorithm=algorithm(reweight=reweight),
            batch=SimpleNamespace(updates_per_step=1),
            verifiers={},
            rollout=Rollout(),
        ),
        trainer=SimpleNamespace(routing=None),
        needs_old=False,
        reference=None,
        lessons=None,
        critic=None,
        timer=None,
        records=None,
    )
    make_batches(parts, groups)  # type: ignore[arg-type]
    found = difficulty_metrics(groups, reweight)
    assert found.pop("reweight/anchor") == anchor
    return found


def test_hard_prompts_gain_on_right_answers_and_easy_ones_on_wrong_answers() -> None:
    seen = corrections([group([1.0] + [0.0] * 7), group([1.0] * 7 + [0.0])], anchor=0.4)
    assert seen == pytest.approx(
        {
            "reweight/hard_right": 1.711490,
            "reweight/hard_wrong": 0.987444,
            "reweight/easy_wrong": 2.090418,
            "reweight/easy_right": 0.808451,
        },
        abs=1e-5,
    )


def test_groups_without_signal_say_nothing() -> None:
    assert corrections([group([1.0] * 4), group([0.0] * 4)], anchor=0.4) == {}


def test_the_middle_third() -> None:
    seen = corrections([group([1.0, 0.0])], anchor=0.5)
    assert set(seen) == {"reweight/medium_right", "reweight/medium_wrong"}
    assert all(math.isclose(factor, 1.3) for factor in seen.values())


def test_without_reweighting_there_is_no_metric() -> None:
    plain_N = torch.ones(3)
    assert NoReweight()(plain_N, plain_N, plain_N, plain_N) is plain_N  # what the loop tells it by
    assert difficulty_metrics([group([1.0, 0.0])], NoReweight()) == {}
