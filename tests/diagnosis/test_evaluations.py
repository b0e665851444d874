"""Evaluations are compared problem by problem, and a finding ends only when the model has got better."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from rlvr_cli.diagnosis.history import Context
from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.schema import Diagnosis

PROBLEMS = 80


def evaluated(
    scores: dict[int, dict[str, float]], settings: Diagnosis | None = None
) -> list[tuple[str, bool, int]]:
    """(rule, begins, step) of what these evaluations lead to; step -> problem -> share correct."""
    watch = Watch(settings or Diagnosis(), [Context(max_tokens=9)])
    found = []
    for step, problems in scores.items():
        mean = sum(problems.values()) / len(problems)
        row: dict[str, Any] = {"step": step, "event": "eval", "bench": "val", "eval/val/avg@4": mean}
        found += watch.add(row | {"eval/val/ci95_low": 0.0, "eval/val/ci95_high": 1.0}, problems)
    return [(f.rule, f.begins, f.step) for f in found]


def test_a_canary_is_to_stay_where_it_is_and_may_fall() -> None:
    """Nobody can know false golds: 9 problems more are a leak (p = 2 / 2^9), 4 are not."""

    def sung(*counts: int) -> list[tuple[str, bool]]:
        scores = {5 * n: few(count) for n, count in enumerate(counts)}
        return [(rule, begins) for rule, begins, _ in evaluated(scores, Diagnosis(canary="val"))]

    assert sung(1, 10) == [("canary", True)]
    assert sung(1, 12, 1) == [("canary", True), ("canary", False)]
    assert sung(1, 5, 3, 4) == [] and sung(18, 2) == []


def few(count: int) -> dict[str, float]:
    """So many problems are always solved, the others never."""
    return {f"p{n}": float(n < count) for n in range(PROBLEMS)}


def test_a_fall_to_nothing_is_not_over_when_it_is_complete() -> None:
    """22.5% -> 2.5% -> 0.0%: the interval of an all-wrong result is wide, the pairs are not in doubt."""
    scores = {0: few(18), 5: few(2), 10: few(0), 15: few(0), 20: few(1)}
    assert evaluated(scores) == [("eval_regression", True, 5)]


def test_it_is_over_when_the_score_is_back() -> None:
    scores = {0: few(30), 5: few(5), 10: few(4), 15: few(18), 20: few(29)}
    assert evaluated(scores) == [("eval_regression", True, 5), ("eval_regression", False, 20)]


def test_a_lower_score_is_no_end_though_its_evidence_is_thinner() -> None:
    """9 problems lost, then 20 lost and 10 gained: p 0.004, then 0.10, and the score is lower still."""
    later = {f"p{n}": float(n < 20 or 40 <= n < 50) for n in range(PROBLEMS)}
    assert sum(later.values()) == 30
    assert evaluated({0: few(40), 5: few(31), 10: later}) == [("eval_regression", True, 5)]


def test_problem_by_problem_a_fall_within_the_intervals_counts() -> None:
    """9 of 80 problems lost and none gained is no chance (p = 2 / 2^9), though the intervals overlap."""
    assert evaluated({0: few(40), 5: few(31)}) == [("eval_regression", True, 5)]
    changed = {f"p{n}" for n in range(31, 48)}
    mixed = {name: 1 - share if name in changed else share for name, share in few(40).items()}
    assert sum(mixed.values()) == 39  # 9 lost, 8 gained: nothing
    assert evaluated({0: few(40), 5: mixed}) == []


def test_evaluations_that_only_vary_by_chance_hardly_ever_say_anything() -> None:
    """Twenty of a model that stays as it is, twenty times; the best of them is so by chance."""
    said = 0
    for seed in range(20):
        random = Random(seed)
        rates = [random.random() for _ in range(PROBLEMS)]
        scores = {
            step: {f"p{n}": sum(random.random() < rate for _ in range(4)) / 4 for n, rate in enumerate(rates)}
            for step in range(0, 100, 5)
        }
        said += bool(evaluated(scores))
    assert said <= 2


def test_without_verdicts_there_is_no_evaluation() -> None:
    watch = Watch(Diagnosis(), [Context(max_tokens=9)])
    watch.add({"step": 0, "event": "eval", "bench": "val", "eval/val/avg@4": 0.5}, few(40))
    watch.add({"step": 5, "event": "eval", "bench": "val", "eval/val/crash_fraction": 1.0}, {})
    assert [each.step for each in watch.history.evaluations["val"]] == [0]


@pytest.mark.parametrize(("low", "high", "said"), [(0.45, 0.40, True), (0.45, 0.46, False)])
def test_without_results_by_problem_the_intervals_decide(low: float, high: float, said: bool) -> None:
    watch = Watch(Diagnosis(), [Context(max_tokens=9)])
    for step, score, interval in ((0, 0.5, (low, 0.55)), (5, 0.38, (0.33, high))):
        row = {"step": step, "event": "eval", "bench": "val", "eval/val/avg@4": score}
        found = watch.add(row | {"eval/val/ci95_low": interval[0], "eval/val/ci95_high": interval[1]})
    assert [f.rule for f in found] == ["eval_regression"] * said
