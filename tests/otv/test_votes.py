"""Votes and scores of traces: the worked numbers of the method, and its corners."""

from __future__ import annotations

import pytest

from rlvr_cli.otv.trace_score import auroc, trace_score
from rlvr_cli.otv.votes import RIGHT, answers_of, best_of_n, filtered_vote, majority_vote, weighted_vote
from rlvr_cli.schema import TraceScore

A, B = RIGHT, ("wrong", "B")


def test_votes_of_the_worked_example() -> None:
    """A, A, B with .3, .35, .9: the majority says A, weights (.65 against .9) and the best say B."""
    scores = [0.3, 0.35, 0.9]
    assert majority_vote([A, A, B]) == 1
    assert weighted_vote([A, A, B], scores) == 0 and best_of_n([A, A, B], scores) == 0
    assert filtered_vote([A, A, B], scores, 0.5) == 0, "two are left: .9 and .35"
    assert filtered_vote([A, A, B], [0.3, 0.35, 0.6], 1.0) == 1, "all are left: .65 against .6"


def test_ties_are_shared_and_silence_does_not_vote() -> None:
    assert majority_vote([A, B]) == 0.5 and majority_vote([None, None, A]) == 1
    assert majority_vote([None]) == 0 and best_of_n([None, A], [0.9, 0.1]) == 0
    assert best_of_n([A, B], [0.5, 0.5]) == 0.5
    assert weighted_vote([A, B, ("wrong", "C")], [0.1] * 3) == pytest.approx(1 / 3)
    assert answers_of([True, False, False, None], ["7", "8", None, None]) == [A, ("wrong", "8"), None, None]


def test_equal_weights_are_the_majority() -> None:
    for answers in ([A, A, B], [A, B, B], [A, B, None, B, A]):
        assert weighted_vote(answers, [0.3] * len(answers)) == majority_vote(answers)


def test_the_score_of_a_trace() -> None:
    c = [0.2, 0.9, 0.1, 0.8, 0.6]
    assert trace_score(c, TraceScore.final, 3) == 0.6
    assert trace_score(c, TraceScore.mean, 3) == pytest.approx(0.5)
    assert trace_score(c, TraceScore.min, 2) == pytest.approx(0.45), "(.8 + .1) / 2; the others are higher"
    assert trace_score(c, TraceScore.min, 9) == trace_score(c, TraceScore.mean, 9) == pytest.approx(0.52)
    assert trace_score([], TraceScore.min, 2) == 0.5


def test_auroc() -> None:
    assert auroc([0.9, 0.8], [0.1, 0.2]) == 1 and auroc([0.1], [0.9]) == 0
    assert auroc([0.5, 0.7], [0.5, 0.1]) == pytest.approx(3.5 / 4), "one tie of four"
    assert auroc([], [0.3]) is None
