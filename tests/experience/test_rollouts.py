"""Which groups can teach: the worked examples of the published filter, and what it says of other scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.experience.rollouts import comparable, teaches


def group(scores: list[float], texts: list[str] | None = None) -> Group:
    problem = Problem(id="1", prompt="p", tokens=[], answer="", source="s", verifiers=[])
    none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    completions = [
        Completion(tokens=none[0], logprobs=none[1], text=text, finished=True)
        for text in texts or ["x"] * len(scores)
    ]
    return Group(problem=problem, index=0, completions=completions, scores=scores)


@pytest.mark.parametrize(
    ("scores", "kept", "without_gold"),
    [
        ([1, 1, 1, 1, 1], False, True),
        ([0, 0, 0, 0, 0], False, True),
        ([1, 0, 0, 0, 0], True, True),
        ([0.5, 0.5, 0.5], False, True),  # there is nothing to compare, though 0 < mean < 1
        ([0.5, 0.75], True, True),
        ([-1, 3], True, True),  # a scale of its own
        ([math.nan, 1, 1], False, True),
        ([math.nan, 0, 1], True, True),
        ([math.nan, 1], False, False),
    ],
)
def test_groups_that_differ_are_kept(scores: list[float], kept: bool, without_gold: bool) -> None:
    found = group(scores)
    assert teaches(found, comparable(found), ground_truth=True) == kept
    assert teaches(found, comparable(found), ground_truth=False) == without_gold


def test_what_says_nothing_is_compared_with_nothing() -> None:
    found = group([1, 0, 0], ["yes", "no", " \n"])
    assert comparable(found) == [0, 1] and teaches(found, [0, 1], ground_truth=True)
    found = group([1, 0, 1], ["yes", "", "yes"])
    assert comparable(found) == [0, 2] and not teaches(found, [0, 2], ground_truth=True)
