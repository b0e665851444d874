"""What is said of a run as a whole: noise, short runs, causes, and nothing where nothing is."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.diagnosis.account import Account, Rollouts, account
from rlvr_cli.diagnosis.history import Context, History
from rlvr_cli.diagnosis.learning import trend
from rlvr_cli.diagnosis.statistics import change_of, fisher, student
from rlvr_cli.diagnosis.told import _sample, in_full, in_short, one_line
from rlvr_cli.schema import Diagnosis

CONTEXT = Context(max_tokens=64, first_verifier="units", extraction="answer_tags", source="sums", samples=64)
Row = dict[str, Any]


def row(step: int, correct: float, **more: float) -> Row:
    silent = float(correct == 0)
    values = {
        "reward/mean": correct,
        "reward/score": correct,
        "reward/correct_fraction": correct,
        "group/zero_signal_fraction": silent,
        "group/all_wrong_fraction": silent,
        "group/all_correct_fraction": 0.0,
    }
    return {"step": step} | values | {name.replace("__", "/"): value for name, value in more.items()}


def told(rows: list[Row], rollouts: Rollouts | None = None, context: Context = CONTEXT) -> Account:
    return account(Diagnosis(), [context], rows, rollouts=rollouts)


def rules(rows: list[Row]) -> list[str]:
    return [each.rule.name for each in told(rows).findings]


def drawn(rates: list[float], seed: int = 0, samples: int = 32) -> list[Row]:
    """Steps whose share of correct samples is drawn from their rates."""
    random = Random(seed)
    shares = [sum(random.random() < rate for _ in range(samples)) / samples for rate in rates]
    return [row(step, share) for step, share in enumerate(shares, 1)]


def test_a_flat_noisy_run_is_no_evidence() -> None:
    found = told(drawn([0.11 + 0.0005 * n for n in range(40)], seed=5))
    [noise] = found.findings
    assert noise.rule.name == "within_noise"
    assert noise.finding.message.startswith("reward 0.1") and "after 40 steps" in noise.finding.message
    assert not found.trend or found.trend.low < 0 < found.trend.high
    lines = in_short(found, "runs/x")
    assert lines[0].endswith(": within noise") and lines[-1] == "rlvr why runs/x tells more"


def test_learning_is_claimed_of_noise_once_in_forty_times() -> None:
    """The interval's own promise: of 400 runs that stay where they are, 2.5% seem to rise."""
    for steps in (9, 24, 60):
        risen = 0
        for seed in range(400):
            history = History(8, CONTEXT)
            for each in drawn([0.2] * steps, seed, samples=16):
                history.add(each)
            found = trend(history)
            risen += found is not None and found.low > 0
        assert risen <= 20, (steps, risen)


def test_a_run_that_learns_fast_and_then_stays_has_learned() -> None:
    """The rise is over before the first third is."""
    for seed in range(20):
        rates = [min(0.6, 0.2 + 0.04 * n) for n in range(60)]
        found = told(drawn(rates, seed))
        assert found.findings == [] and found.trend is not None and found.trend.first == 8


def test_a_rise_and_a_fall_are_more_than_noise() -> None:
    rising = [0.2 + 0.01 * n for n in range(40)]
    assert rules(drawn(rising)) == []
    assert rules(drawn(rising[::-1])) == ["reward_falls"]
    assert "more than noise" in in_short(told(drawn(rising)), "x")[0]


def test_solved_and_evaluated_runs_may_be_flat() -> None:
    assert rules(drawn([0.96] * 40)) == []
    flat = drawn([0.3] * 40, seed=2)
    scores = [({f"p{n}": float(n < count) for n in range(80)}, step) for count, step in ((20, 0), (50, 40))]
    rows: list[Row] = [*flat]
    for problems, step in scores:
        rows.append(
            {"step": step, "event": "eval", "bench": "val", "eval/val/avg@1": sum(problems.values()) / 80}
        )
    by_step = {step: problems for problems, step in scores}
    found = account(Diagnosis(), [CONTEXT], rows, problems=lambda bench, step: by_step[step])
    assert found.findings == [] and rules(flat) == ["within_noise"]


def test_a_signal_that_was_there_is_lost_and_not_too_hard_a_problem() -> None:
    blown = [row(n, {1: 0.14, 2: 0.06}.get(n, 0.0), actor__ref_kl=0.1 * n) for n in range(1, 11)]
    assert rules(blown) == ["signal_lost"]
    [found] = told(blown).findings
    assert "after step 2 the mean score fell from 10.0% to 0.0%" in found.finding.message
    assert "the KL to the reference went from 0.1 to 1 nats" in found.finding.message
    assert found.change == ["trainer.lr"]
    assert rules([row(n, 0.0) for n in range(1, 11)]) == ["all_wrong"]
    assert rules(blown[:6]) == ["signal_lost"]  # of fewer steps than a window, too


def test_a_rare_success_is_no_signal_that_was_lost() -> None:
    """One correct sample of 64 in three of forty steps."""
    rows = [row(n, 1 / 64 if n in (3, 11, 12) else 0.0) for n in range(1, 41)]
    assert rules(rows) == ["all_wrong"]


def test_ties_say_nothing() -> None:
    """Groups without verdicts are neither right nor wrong."""
    unjudged = {"reward/mean": math.nan, "reward/score": math.nan, "reward/correct_fraction": math.nan}
    tie = {"group/zero_signal_fraction": 1.0, "group/all_wrong_fraction": 0.0}
    rows = [row(n, 0.0) | unjudged | tie for n in range(1, 20)]
    assert rules(rows) == []
    dead = [each | {"reward/unscored_fraction": 1.0, "reward/crash_fraction": 1.0} for each in rows]
    assert rules(dead) == ["no_verdicts"] and rules(dead[:1]) == ["no_verdicts"]


def test_half_solved_half_hopeless_is_neither_too_easy_nor_too_hard() -> None:
    split = {
        "group/zero_signal_fraction": 0.9,
        "group/all_wrong_fraction": 0.45,
        "group/all_correct_fraction": 0.45,
    }
    [found] = told([row(n, 0.5) | split for n in range(1, 10)]).findings
    assert found.rule.name == "equal_scores"
    assert "45% of the groups had only correct samples and 45% not one" in found.finding.message


def sample(number: int, reason: str, detail: str = "") -> Row:
    verdict = {"score": 0.0, "reason": reason, "extracted": None, "detail": detail, "ms": 1.0}
    return {
        "step": 9, "sample": 0, "problem": f"p{number}", "prompt": "88+94=", "answer": "182",
        "response": "\x1b[2Jso it is \\boxed{182}", "finished": True, "verdicts": {"units": verdict},
    }  # fmt: skip


def test_samples_that_show_it_come_with_it() -> None:
    recorded = Rollouts(
        steps=[8, 9], read=lambda step: [sample(n, "no_answer" if n else "wrong") for n in range(5)]
    )
    rows = [row(n, 0.0, reward__no_answer_fraction=1.0) for n in range(1, 10)]
    found = told(rows, recorded)
    [finding] = found.findings
    assert finding.rule.name == "unreadable" and finding.change[0] == "verifiers.units.extraction"
    assert [each["problem"] for each in finding.samples] == ["p1", "p2", "p3"]
    text = "\n".join(in_full(found, "docs/troubleshooting.md"))
    assert "verifiers.units.extraction=answer_tags finds no answer in 100% of the responses" in text
    assert "88+94= -> [2Jso it is \\boxed{182}" in text and "\x1b" not in text
    assert "see: docs/troubleshooting.md#no-answer-is-found" in text
    assert "see:" not in "\n".join(in_full(found, None))


def test_an_episode_is_shown_turn_by_turn() -> None:
    turns = [{"text": f"guess {n}", "said": "too\x1b[2J low" if n < 8 else ""} for n in range(1, 9)]
    played = sample(0, "wrong") | {"turns": turns, "ended": "turns"}
    [first, *lines] = [line.strip() for line in _sample(played)][1:]
    assert first.endswith("88+94=")
    assert lines[0] == "turn 1: guess 1 -> too [2J low" and lines[3] == "... 2 more turns ..."
    assert [line.partition(":")[0] for line in lines[4:]] == ["turn 6", "turn 7", "turn 8", "ended"]
    assert lines[-1] == "ended: turns"
    assert "more turns" not in "".join(_sample(played | {"turns": turns[:6]}))


def test_missing_verdicts_name_their_commonest_cause() -> None:
    cause = "[Errno 111] Connection refused"
    recorded = Rollouts(steps=[1], read=lambda step: [sample(n, "crash", cause) for n in range(5)])
    dead = {"reward/unscored_fraction": 1.0, "reward/crash_fraction": 1.0, "group/all_wrong_fraction": 0.0}
    found = told([row(1, 0.0) | dead], recorded)
    assert f"the commonest cause: crash: {cause}" in "\n".join(in_full(found, None))


def test_nothing_is_said_of_healthy_and_of_short_runs() -> None:
    assert in_short(told([]), "x") == ["no step was finished, so there is nothing to judge"]
    short = told(drawn([0.3] * 5))
    assert short.early and in_short(short, "x") == [
        "nothing is wrong so far; 5 steps are too few for most rules"
    ]
    healthy = told(drawn([0.2 + 0.01 * n for n in range(40)]))
    assert not healthy.early and in_short(healthy, "x")[-1] == "nothing is wrong: no rule finds anything"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 12))
def test_few_steps_of_a_learning_run_say_nothing(seed: int, steps: int) -> None:
    assert rules(drawn([0.25 + 0.01 * n for n in range(steps)], seed)) == []


def test_statistics_of_changes() -> None:
    # Student 1908: 0.975 quantiles of 1, 5, 10, 30 degrees of freedom.
    assert [student(n) for n in (1, 5, 10, 30)] == pytest.approx([12.706, 2.571, 2.228, 2.042], abs=0.005)
    assert [student(n, 0.9875) for n in (2, 5, 10, 30)] == pytest.approx(
        [6.205, 3.163, 2.634, 2.360], abs=0.02
    )
    # Fisher's tea: 4 of 4 against 0 of 4 is 1 in 70; 3 of 4 against 1 of 4 is 17 in 70.
    assert fisher(4, 4, 0, 4) == pytest.approx(1 / 70) and fisher(3, 4, 1, 4) == pytest.approx(17 / 70)
    # Means 2 and 4, variances 1, three values each: 4 degrees of freedom, error sqrt(2/3).
    found = change_of([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])
    assert (found.low, found.high) == pytest.approx((2 - 2.776 * 0.8165, 2 + 2.776 * 0.8165), abs=0.01)
    assert change_of([1.0, 1.0], [1.0, 1.0]).certain is False and change_of([1.0, 1.0], [2.0, 2.0]).certain


def test_foreign_text_is_one_harmless_line() -> None:
    assert one_line("a\nb\x1b[31m" + "c" * 500).startswith("a b [31m" + "c" * 10)
    assert len(one_line("x" * 999)) == 200 and one_line("y" * 999, end=True).startswith("...y")
