"""The gap between a reward and a second verifier: in standard deviations of where the run began."""

from __future__ import annotations

import math
from typing import Any

import pytest
from small_parts import problem, two_tokens

from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.schema import Diagnosis
from rlvr_cli.training.gap import STATE, gap_metrics, standardised

WATCHED = Diagnosis(second_verifier="gold", window=2)


def group(first: list[float], second: list[float | None]) -> Group:
    """Scores of the first verifier, and of the second for those it has judged."""
    return Group(
        problem=problem(0),
        index=0,
        completions=[two_tokens(n) for n in range(len(first))],
        first_scores=first,
        correct=[math.nan if math.isnan(score) else 1.0 for score in first],
        audits={
            n: Verdict(score=score, reason=Reason.wrong)
            for n, score in enumerate(second)
            if score is not None
        },
    )


def test_the_gap_is_the_difference_of_the_two_rises() -> None:
    """First two steps: the reward is 0, 2, 0, 2 (mean 1, std 1), the gold 1, 3, 5, 7 (mean 4, std sqrt 5).
    Then the reward is 4 (+3) and the gold 4 - sqrt 5 (-1): a gap of 4."""
    state: dict[str, Any] = {}
    assert gap_metrics([group([0, 2], [1, 3])], WATCHED, state) == {"audit/first_score": 1, "audit/score": 2}
    assert "audit/gap" not in gap_metrics([group([0, 2], [5, 7])], WATCHED, state)
    now = [group([3, 5, 9], [4 - math.sqrt(5), 4 - math.sqrt(5), None])]
    found = gap_metrics(now, WATCHED, state)
    assert found == pytest.approx({"audit/first_score": 4, "audit/score": 4 - math.sqrt(5), "audit/gap": 4})


def test_the_start_is_state_of_the_run() -> None:
    """What goes into a checkpoint gives the same numbers after a resume."""
    state: dict[str, Any] = {}
    for first, second in (([0.0, 2.0], [1.0, 3.0]), ([0.0, 2.0], [5.0, 7.0])):
        gap_metrics([group(first, second)], WATCHED, state)
    resumed = {STATE: {**state[STATE]}}
    late = [group([1.0, 8.0], [2.0, 2.5])]
    assert gap_metrics(late, WATCHED, state) == gap_metrics(late, WATCHED, resumed)
    assert state == resumed and state[STATE]["steps"] == 2


def test_samples_that_one_of_the_two_has_not_judged_do_not_count() -> None:
    assert gap_metrics([group([math.nan, 3], [1, None])], WATCHED, {}) == {}
    assert gap_metrics([group([1.0], [1.0])], Diagnosis(), {}) == {}
    crashed = group([1.0], [1.0])
    crashed.audits[0].reason = Reason.crash
    assert gap_metrics([crashed], WATCHED, {}) == {}


def test_without_variation_at_the_start_there_is_no_unit_and_no_gap() -> None:
    assert standardised(3.0, 4.0, 8.0, 2) is None  # 2 and 2
    state: dict[str, Any] = {}
    for _ in range(3):
        found = gap_metrics([group([0, 2], [5, 5])], WATCHED, state)
    assert found == {"audit/first_score": 1, "audit/score": 5}
