"""The metrics of a step over all ranks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from small_parts import problem, two_tokens
from thread_ranks import on_ranks

from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.training.metrics import answer_metrics, reward_metrics
from rlvr_cli.training.record import disputed_rows
from rlvr_cli.training.sample_metrics import sample_metrics
from rlvr_cli.training.unjudged import cause_of, tell_missing


def group(*scores: float | None) -> Group:
    """None: the verifier timed out."""
    known = [float("nan") if s is None else s for s in scores]
    return Group(
        problem=problem(0),
        index=0,
        completions=[two_tokens(n) for n in range(len(scores))],
        verdicts=[
            {"even": Verdict(score=s or 0.0, reason=Reason.timeout if s is None else Reason.wrong)}
            for s in scores
        ],
        correct=known,
        first_scores=known,
        rewards=known,
    )


def test_means_of_verdicts_are_over_the_verdicts_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 has 1, 1, 1 and a timeout, rank 1 has 0: the mean is 3/4, not that of 1 and 0, and not 1."""
    mine = [[group(1.0, 1.0), group(1.0, None)], [group(0.0)]]
    found = on_ranks(monkeypatch, 2, lambda rank: sample_metrics(mine[rank], {}))
    assert found[0] == found[1]
    assert found[0]["reward/even/mean"] == pytest.approx(3 / 4)
    assert found[0]["reward/source/train/correct_fraction"] == pytest.approx(3 / 4)
    assert found[0]["reward/timeout_fraction"] == pytest.approx(1 / 5)
    nothing = on_ranks(monkeypatch, 2, lambda rank: sample_metrics(mine[0] if rank else [], {}))
    assert nothing[0]["reward/even/mean"] == 1.0, "a rank without groups has means too"


def test_partial_credit_counts_in_the_score_and_not_as_correct() -> None:
    """0.5 wrong, 1 correct, and one without a verdict, which `verification.unscored=zero` gives a score."""
    mine = group(0.5, 1.0, None)
    mine.correct, mine.first_scores = [0.0, 1.0, float("nan")], [0.5, 1.0, 0.0]
    found = reward_metrics([mine], [mine])
    assert found["reward/correct_fraction"] == 0.5 and found["reward/score"] == 0.75
    assert found["reward/unscored_fraction"] == pytest.approx(1 / 3)
    assert found["group/zero_signal_fraction"] == 0
    assert (found["group/all_correct_fraction"], found["group/all_wrong_fraction"]) == (0, 0)


def test_wrong_samples_that_are_paid_and_answers_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rank 0 one of two wrong samples is paid and two of three answers differ, of rank 1 none is, and the
    two agree: 1 of 5 samples; (2/3 + 1/2) / 2. What has no verdict or no answer does not count."""
    one, other = group(0.0, 0.5, 1.0, None), group(0.0, 0.0)
    one.correct, one.scores = [0.0, 0.0, 1.0, float("nan")], [0.0, 0.5, 1.0, float("nan")]
    other.scores = [0.0, 0.0]
    for each, said in ((one, ["7", "8", "8", None]), (other, ["3", "3"])):
        for verdicts, answer in zip(each.verdicts, said, strict=True):
            verdicts["even"] = replace(verdicts["even"], extracted=answer)
    mine = [[one], [other]]
    found = on_ranks(monkeypatch, 2, lambda rank: sample_metrics(mine[rank], {}) | answer_metrics(mine[rank]))
    assert found[0] == found[1]
    assert found[0]["reward/paid_wrong_fraction"] == pytest.approx(1 / 5)
    assert found[0]["answers/different_fraction"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_step_is_without_verdicts_only_if_no_sample_of_any_rank_has_all_of_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost, some = group(None, None), group(None, 1.0)
    for each in lost.verdicts:
        each["even"].detail = "no verdict within 5 s"
    both = [[[lost], [lost]], [[lost], [some]], [[lost], []], [[], []]]
    found = [on_ranks(monkeypatch, 2, lambda rank, mine=mine: cause_of(mine[rank])) for mine in both]
    said = "timeout: no verdict within 5 s"
    assert found == [[said, said], [None, None], [said, said], [None, None]]


def test_disputed_verdicts_are_counted_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = group(0.0, 1.0)
    mine.verdicts[0]["even"] = Verdict(
        score=0.0, reason=Reason.wrong, extracted="2", detail="equal by one way", disputed=True
    )
    rows, shares = on_ranks(
        monkeypatch, 2, lambda rank: (disputed_rows([mine] * rank), sample_metrics([mine] * rank, {}))
    )[0]
    assert shares["reward/disputed_fraction"] == 0.5
    [row] = rows
    assert row == {
        "problem": mine.problem.id,
        "source": "train",
        "verifier": "even",
        "gold": mine.problem.golds,
        "extracted": "2",
        "detail": "equal by one way",
    }


def test_the_cause_of_missing_verdicts_is_told_once() -> None:
    told: list[str] = []
    tracker = SimpleNamespace(event=lambda kind, said: told.append(f"{kind}: {said}"))
    parts: Any = SimpleNamespace(step=3, state={}, tracker=tracker)
    late = group(None, 1.0, 1.0)
    late.verdicts[0]["even"].detail = "no verdict within 10 s"
    for mine in ([group(1.0, 0.0)], [late], [late], [group(*[1.0] * 60), late]):
        tell_missing(parts, mine)
    assert told == [
        "warning: step 3: 33.3% of the verdicts are missing, mostly timeout: no verdict within 10 s"
    ]
