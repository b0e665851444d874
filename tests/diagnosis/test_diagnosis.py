"""Rules over metrics: what each of them finds, and what healthy runs must not be told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from healthy_rows import CONTEXT, Row, healthy
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN, ROOT

from rlvr_cli.commands.why import FAILURES
from rlvr_cli.diagnosis import RULES, Asked, Finding
from rlvr_cli.diagnosis.account import ORDER, key_of
from rlvr_cli.diagnosis.history import Context, finite
from rlvr_cli.diagnosis.statistics import rise, wilson
from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.schema import Actions, Diagnosis
from rlvr_cli.tracking.journal import to_line

PAGE = ROOT / "docs" / "diagnosis.md"


def run(changes: Callable[[int, Row], Row], steps: int = 60, seed: int = 0) -> list[Row]:
    random = Random(seed)
    rows = [healthy(step, random) for step in range(1, steps + 1)]
    return [row | changes(row["step"], row) for row in rows]


def late(**values: float) -> Callable[[int, Row], Row]:
    """From step 31 on these metrics, `__` for `/`, with a little noise."""

    def changed(step: int, row: Row) -> Row:
        wobble = 1 + 0.02 * math.sin(step)
        return {k.replace("__", "/"): v * wobble for k, v in values.items()} if step > 30 else {}

    return changed


def always(**values: float) -> Callable[[int, Row], Row]:
    """The same from the first step on."""
    return lambda step, row: {k.replace("__", "/"): v for k, v in values.items()}


NOTHING = {
    "group__zero_signal_fraction": 0.95,
    "group__all_wrong_fraction": 0.95,
    "group__all_correct_fraction": 0.0,
    "reward__correct_fraction": 0.004,
    "reward__mean": 0.004,
}
"""No signal, since hardly anything is right."""


UNJUDGED = {f"group__{name}_fraction": 0.0 for name in ("all_wrong", "all_correct")} | {
    "group__zero_signal_fraction": 1.0
}


def flat(step: int, row: Row) -> Row:
    value = 0.3 + 0.05 * math.sin(3 * step)
    return {"reward/correct_fraction": value, "reward/mean": value}


def slow(step: int, row: Row) -> Row:
    seconds = row["timing_s/rollout"] * (8 if step > 30 else 1)
    total = seconds + row["timing_s/update"] + row["timing_s/verify"]
    return {
        "timing_s/rollout": seconds,
        "timing_s/step": total,
        "perf/tokens_per_second": 12000 / total,
    }


def busy(step: int, row: Row) -> Row:
    """The whole machine is three times slower: no phase of the run is to blame."""
    factor = 3 if step > 30 else 1
    return {k: v * factor for k, v in row.items() if k.startswith("timing_s/")} | {
        "perf/tokens_per_second": row["perf/tokens_per_second"] / factor
    }


def drift(step: int, row: Row) -> Row:
    return flat(step, row) | {"actor/ref_kl": 0.012 * step}


def spikes(step: int, row: Row) -> Row:
    return {"actor/grad_norm": 9.0 if step in (41, 44) else 0.4}


SICK: dict[str, tuple[Callable[[int, Row], Row], str]] = {
    "entropy_collapse": (late(actor__entropy=0.02), "nats per token in"),
    "entropy_explosion": (late(actor__entropy=2.0), "entropy rose from 0.39 to 1.2 nats"),
    "kl_drift": (drift, "times the entropy at the start), while the mean reward went from 0.3"),
    "gradient_explosion": (late(actor__grad_norm=6.0), "the gradient norm rose from 0.48 to 3.3 in"),
    "gradient_spikes": (spikes, "2 of 8 steps (steps 38 to 45) had a gradient norm of up to 9, and 0.4 was"),
    "mismatch_growth": (late(mismatch__k3=8e-3), "(mismatch/k3) went from 3.4e-04 to 4.2e-03 nats per token"),
    "truncation": (
        late(response_length__truncated_fraction=0.3),
        "16% of the responses in steps 27 to 34 were cut off at rollout.max_tokens (1024)",
    ),
    "length_growth": (
        late(response_length__mean=900, response_length__truncated_fraction=0.11),
        "and 11% now reach rollout.max_tokens (1024)",
    ),
    "length_collapse": (
        lambda step, row: flat(step, row) | late(response_length__mean=40)(step, row),
        "responses shrank from 299 to 41 tokens in",
    ),
    "signal_lost": (
        late(**NOTHING),
        "after step 30 the mean score fell from 45.7% to 0.4%, and 94% of the groups have no signal; the",
    ),
    "cut_off": (
        always(**NOTHING, response_length__truncated_fraction=0.8, reward__no_answer_fraction=0.9),
        "80% of the responses in steps 1 to 8 are cut off at rollout.max_tokens (1024) (95% had no signal)",
    ),
    "all_refused": (
        always(**NOTHING, reward__refused_fraction=0.9),
        "90% of the verdicts in steps 1 to 8 are refusals (95% had no signal): a verifier refuses what takes",
    ),
    "unreadable": (
        always(**NOTHING, reward__no_answer_fraction=0.9),
        "verifiers.loose.extraction=answer_tags finds no answer in 90% of the responses of steps 1 to 8",
    ),
    "all_wrong": (always(**NOTHING), "95% of the groups in steps 1 to 8 had not one correct sample"),
    "equal_scores": (
        always(**NOTHING, reward__score=0.5),
        "the samples of a group get the same score in steps 1 to 8, 0.50 on average (95% had no signal)",
    ),
    "all_right": (
        late(group__zero_signal_fraction=0.95, group__all_correct_fraction=0.9, group__all_wrong_fraction=0),
        "had only correct samples (94% had no signal)",
    ),
    "same_answer": (
        late(answers__commonest_fraction=0.9),
        "gave one and the same answer, to problems of which 10%",
    ),
    "no_verdicts": (
        always(reward__crash_fraction=0.9, reward__unscored_fraction=0.9, **UNJUDGED),
        "90.0% of the samples in steps 1 to 8 have no verdict (of all verdicts 0.0% timed out and 90.0%",
    ),
    "refusals_rising": (
        lambda step, row: {"reward/refused_fraction": max(0.0, 0.01 * (step - 30))},
        "of the verdicts in steps 32 to 39 are refusals or timeouts, and 0.0% were in the first 8 steps",
    ),
    "verdicts_lost": (
        late(reward__crash_fraction=0.08, reward__unscored_fraction=0.08),
        "have no verdict (of all verdicts",
    ),
    "environment_failures": (
        late(episode__ended_failed_fraction=0.2),
        "the environment failed in 20.0% of the episodes in steps 31 to 38",
    ),
    "tools_failing": (
        lambda step, row: {"tool/calls": 10.0, "tool/failures": 9.0 if step > 29 else 5.0},
        "55% of the 80 tool calls in steps 23 to 30 were answered with an error",
    ),
    "tools_unused": (
        lambda step, row: {"tool/calls": 30.0 if step < 31 else 0.0},
        "no tool was called in steps 31 to 38, and 240 calls were made in the first 8 steps",
    ),
    "reward_hacking": (late(audit__rejected=6.0), "of the samples 'loose' accepts, 'strict' rejects"),
    "over_optimisation": (
        lambda step, row: {
            "audit/first_score": 0.05 * step + 0.1 * (step % 3),
            "audit/score": 1 - abs(step - 24) / 20 + 0.1 * (step % 2),
            "audit/gap": 0.1 * step,
        },
        "since steps 19 to 26 'loose' has risen from 1.24 to 1.61, while 'strict' has",
    ),
    "reward_jump": (
        lambda step, row: flat(step, row) | late(reward__mean=0.9, reward__correct_fraction=0.9)(step, row),
        "(steps 22 to 29) to 0.77 (steps 30 to 33), and 0.30 was to be expected",
    ),
    "reward_alone": (
        lambda step, row: flat(step, row) | {"reward/mean": 0.4 + 0.01 * step + 0.05 * math.sin(2 * step)},
        "rose from 0.45 to 0.85 in 47 steps, while 29.7% of the samples were correct at the start and",
    ),
    "length_pays": (
        lambda step, row: flat(step, row)
        | late(
            reward__length_correlation=0.5, response_length__mean=450, response_length__truncated_fraction=0.0
        )(step, row),
        "of the samples of a problem correlate by 0.32 in",
    ),
    "repetition_loops": (
        late(text__repetition=0.7),
        "of the three-word phrases in steps 27 to 34 had been said before in the same response, and 7%",
    ),
    "language_mixing": (
        late(text__mixed_fraction=0.4),
        "of the responses in steps 27 to 34 mix letters of several scripts, and 0% did at the start",
    ),
    "slow_disk": (
        always(timing_s__record=1.1, timing_s__checkpoint=0.4, timing_s__step=4.0),
        "writing takes 1.5 s of the 4 s of a step (37%) in steps 1 to 8: 1.1 s metrics and samples, 0.4 s",
    ),
    "growing_memory": (
        lambda step, row: {"perf/host_memory_gb": row["perf/host_memory_gb"] + 0.02 * max(0, step - 20)},
        "the memory of a rank rose steadily from",
    ),
    "slow_phase": (slow, "the phase 'rollout' takes"),
    "no_learning": (flat, "30.0% of the samples are correct, and 30.1% were in the first third"),
}  # fmt: skip


def findings(
    rows: list[Row], settings: Diagnosis | None = None, contexts: list[Context] | None = None
) -> list[Finding]:
    watch = Watch(settings or Diagnosis(), contexts or [CONTEXT])
    return [finding for row in rows for finding in watch.add(row)]


def begun(rows: list[Row], **settings: Any) -> list[str]:
    return [f.rule for f in findings(rows, Diagnosis(**settings)) if f.begins]


@pytest.mark.parametrize("name", SICK)
def test_each_sickness_gets_its_sentence_and_no_other(name: str) -> None:
    changes, said = SICK[name]
    found = findings(run(changes, steps=100 if name == "no_learning" else 60))
    assert [f.rule for f in found if f.begins] == [name]
    assert said in found[0].message
    assert found[0].message.endswith(RULES[name].meaning)
    assert all(math.isfinite(value) for value in found[0].values.values())
    assert found[0].step >= 30 or name in FROM_THE_START  # not before it began


FROM_THE_START = {
    "slow_disk",
    "cut_off",
    "all_refused",
    "unreadable",
    "all_wrong",
    "equal_scores",
    "no_verdicts",
}


def test_every_rule_over_steps_has_a_sick_run_here() -> None:
    assert set(SICK) == {name for name, rule in RULES.items() if rule.asked is Asked.step}


@settings(max_examples=20, deadline=None, derandomize=True)  # one run in 2,000 has a finding by chance
@given(seed=st.integers(0, 10**6))
def test_noise_of_small_batches_is_no_finding(seed: int) -> None:
    assert begun(run(lambda step, row: {}, steps=120, seed=seed)) == []


def test_a_policy_that_gets_worse_by_both_judges_or_better_by_both_is_not_over_optimised() -> None:
    """Nor is one whose second score is noise: 3 standard errors below the best of many windows."""

    def audited(slope: float, gold: float) -> list[Row]:
        random = Random(1)
        return run(
            lambda step, row: {
                "audit/first_score": slope * step + random.gauss(0, 0.1),
                "audit/score": gold * step + random.gauss(0, 0.1),
            },
            steps=80,
        )

    for slope, gold in ((-0.02, -0.02), (0.02, 0.02), (0.02, 0.0)):
        assert "over_optimisation" not in begun(audited(slope, gold)), (slope, gold)
    assert begun(audited(0.02, -0.02)) == ["over_optimisation"]


def test_rewards_that_rise_as_they_may_are_no_finding() -> None:
    """Fast learning is no jump, a format that is learned before the answers is not all that is learned, and
    longer reasoning that is right more often may pay."""

    def fast(step: int, row: Row) -> Row:
        share = 0.05 + 0.9 / (1 + math.exp((20 - step) / 4))
        value = share + 0.04 * math.sin(5 * step)
        return {
            "reward/mean": value,
            "reward/correct_fraction": share,
            "reward/std": math.sqrt(share * (1 - share)),
        }

    def form_first(step: int, row: Row) -> Row:
        share = 0.3 + 0.01 * max(0, step - 30) + 0.03 * math.sin(3 * step)
        return {"reward/mean": share + 0.1 * min(step, 20) / 20, "reward/correct_fraction": share}

    def longer(step: int, row: Row) -> Row:
        share = 0.3 + 0.008 * step + 0.03 * math.sin(3 * step)
        grown = {"response_length/mean": 300.0 + 5 * step, "response_length/truncated_fraction": 0.0}
        return grown | {"reward/correct_fraction": share, "reward/length_correlation": 0.6}

    for course in (fast, form_first, longer):
        assert begun(run(course, steps=80)) == [], course.__name__


def test_a_machine_that_is_busy_with_other_things_is_no_finding() -> None:
    assert begun(run(busy)) == []


def recorded() -> dict[str, list[Row]]:
    """Real runs of every preset on two-digit addition, four digits of the metrics that rules read."""
    runs = {}
    for name, entry in json.loads((GOLDEN / "recorded_runs.json").read_text()).items():
        rows = [
            {"step": n} | dict(zip(entry["metrics"], v, strict=True)) for n, v in enumerate(entry["steps"], 1)
        ]
        for step, bench, *scores in entry["evals"]:
            values = dict(zip(("avg@4", "ci95_low", "ci95_high"), scores, strict=True))
            row = {"step": step, "event": "eval", "bench": bench}
            rows.append(row | {f"eval/{bench}/{k}": v for k, v in values.items()})
        runs[name] = sorted(rows, key=lambda row: (row["step"], "event" in row))
    return runs


SICK_RECORDED = {
    "always_1/seed0": ["all_right"],  # every response is called correct
    "random_reward/seed0": [
        "eval_regression",
        "kl_drift",
    ],  # a reward without information, hardly any KL penalty
}


@pytest.mark.parametrize("name", recorded())
def test_recorded_runs_of_every_preset_are_healthy_and_the_controls_are_not(name: str) -> None:
    rows = [
        # What single samples of a share vary by; rewards of -1 and 1 by twice that, which hides jumps.
        row | ({"reward/std": math.sqrt(c * (1 - c))} if (c := row.get("reward/correct_fraction")) else {})
        for row in recorded()[name]
    ]
    found = findings(rows, contexts=[Context(max_tokens=40)])
    assert [f.rule for f in found] == SICK_RECORDED.get(name, [])


def test_recorded_runs_are_many() -> None:
    assert len(set(recorded()) - set(SICK_RECORDED)) >= 10
    assert set(SICK_RECORDED) <= set(recorded())


def test_a_finding_is_said_once_though_its_value_hovers_and_again_after_it_was_over() -> None:
    def hover(step: int, row: Row) -> Row:
        cut = 0.17 if step % 2 else 0.14  # their median is above the threshold of 0.15
        if 10 < step <= 40:
            cut = 0.14  # below it, and within the hysteresis
        if 40 < step <= 60 or 110 < step <= 120:
            cut = 0.0
        return {"response_length/truncated_fraction": cut}

    found = findings(run(hover, steps=140), Diagnosis(cooldown=30))
    # Over when half of the window is clear, and then for four steps; said again 30 steps after that, though
    # the value is back after 13.
    assert [(f.rule, f.begins, f.step) for f in found] == [
        ("truncation", True, 8),
        ("truncation", False, 47),
        ("truncation", True, 77),
        ("truncation", False, 117),
    ]


def test_over_is_said_with_when_it_began() -> None:
    def passing(step: int, row: Row) -> Row:
        return {"response_length/truncated_fraction": 0.5 if 20 < step <= 40 else 0.0}

    first, last = findings(run(passing))
    assert first.begins and not last.begins
    assert (
        last.message
        == f"over: truncation, found after step {first.step}, is no longer seen after step {last.step}"
    )


def sick_rows(name: str) -> list[Row]:
    rows = run(SICK[name][0])
    evaluation = {"step": 30, "event": "eval", "bench": "b", "eval/b/avg@4": 0.5, "eval/b/ci95_low": 0.45}
    worse = {"step": 40, "event": "eval", "bench": "b", "eval/b/avg@4": 0.3, "eval/b/ci95_high": 0.35}
    rows.insert(30, evaluation | {"eval/b/ci95_high": 0.55})
    rows.insert(41, worse | {"eval/b/ci95_low": 0.25})
    rows[3]["actor/entropy"] = math.nan
    return rows


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(SICK)), cut=st.integers(0, 62))
def test_a_resumed_run_finds_what_an_undisturbed_one_finds(name: str, cut: int) -> None:
    rows = sick_rows(name)
    written = [json.loads(to_line(row)) for row in rows]  # what `metrics.jsonl` gives back, NaN as null
    whole = [f for f in findings(rows) if f.step > (rows[cut - 1]["step"] if cut else 0)]
    watch = Watch(Diagnosis(), [CONTEXT])
    watch.replay(written[:cut])
    rest = [finding for row in rows[cut:] for finding in watch.add(row)]
    assert [f for f in rest if f.step > (rows[cut - 1]["step"] if cut else 0)] == whole
    undisturbed = Watch(Diagnosis(), [CONTEXT])
    undisturbed.replay(rows)
    assert watch.active == undisturbed.active


def test_an_evaluation_that_falls_out_of_the_intervals_is_found_and_over_when_it_is_back() -> None:
    def evaluation(step: int, score: float) -> Row:
        values = {"avg@4": score, "ci95_low": score - 0.03, "ci95_high": score + 0.03}
        return {"step": step, "event": "eval", "bench": "b"} | {f"eval/b/{k}": v for k, v in values.items()}

    scores = {0: 0.30, 10: 0.50, 20: 0.46, 30: 0.41, 40: 0.49}
    found = findings([evaluation(step, score) for step, score in scores.items()])
    assert [(f.rule, f.begins, f.step) for f in found] == [
        ("eval_regression", True, 30),
        ("eval_regression", False, 40),
    ]
    assert found[0].message.startswith("b fell from 50.0% after step 10 to 41.0% after step 30, further than")


def test_settings_are_thresholds() -> None:
    def cut(step: int, row: Row) -> Row:
        return {"response_length/truncated_fraction": 0.3}

    assert begun(run(cut)) == ["truncation"] and begun(run(cut), truncated=0.4) == []
    wrong = always(**NOTHING | {"group__zero_signal_fraction": 0.7, "group__all_wrong_fraction": 0.7})
    assert begun(run(wrong)) == [] and begun(run(wrong), zero_signal=0.6) == ["all_wrong"]
    lost = late(reward__unscored_fraction=0.05)
    assert begun(run(lost)) == ["verdicts_lost"] and begun(run(lost), unscored=0.1) == []
    assert begun(run(slow)) == ["slow_phase"] and begun(run(slow), slowdown=10.0) == []
    far = late(actor__ref_kl=2.0)  # while the reward rises
    assert begun(run(far)) == ["kl_drift"] and begun(run(far), ref_kl=3.0) == []
    first = [findings(run(cut), Diagnosis(window=w))[0].step for w in (4, 8, 12)]
    assert first == [4, 8, 12]


@pytest.mark.parametrize(
    ("metric", "start", "over", "back", "name"),
    [
        ("actor/entropy", 0.4, 0.038, 0.042, "entropy_collapse"),  # 0.04; over above 0.04 / 0.8
        ("actor/entropy", 0.4, 1.25, 1.15, "entropy_explosion"),  # 1.2; over below 0.96
        ("actor/grad_norm", 0.4, 2.1, 1.9, "gradient_explosion"),  # 2; over below 1.6
        ("mismatch/k3", 3e-4, 2.1e-3, 1.9e-3, "mismatch_growth"),  # 0.002; over below 0.0016
    ],
)
def test_a_finding_lasts_while_its_value_hovers_about_the_threshold(
    metric: str, start: float, over: float, back: float, name: str
) -> None:
    def hover(step: int, row: Row) -> Row:
        return {metric: start if step <= 30 else back if 50 < step <= 70 else over}

    found = findings(run(hover, steps=120), Diagnosis(cooldown=1))
    assert [(f.rule, f.begins) for f in found] == [(name, True)]


def test_a_reward_that_rises_excuses_a_growing_distance() -> None:
    assert begun(run(lambda step, row: {"actor/ref_kl": 0.012 * step})) == []


@pytest.mark.parametrize(
    ("start", "now", "said"),
    [
        (1e-4, 1.9e-3, False),  # nineteenfold, and as small as that of bf16 engines
        (4e-3, 4e-3, False),  # above that, and as it was from the start
        (1e-3, 4.9e-3, False),
        (1e-3, 5.1e-3, True),
        (1e-4, 2.1e-3, True),
        (0.09, 0.09, False),
        (0.11, 0.11, True),  # too much in any case
    ],
)
def test_a_mismatch_must_be_large_and_have_grown(start: float, now: float, said: bool) -> None:
    rows = run(lambda step, row: {"mismatch/k3": now if step > 30 else start})
    assert begun(rows) == ["mismatch_growth"] * said


@pytest.mark.parametrize(
    ("first", "then", "more", "said"),
    [
        (3e-13, 5e-3, {}, True),  # nothing old is in an engine that was never synced
        (3e-13, 1.9e-3, {}, False),
        (3e-4, 5.9e-3, {}, False),  # twenty times that of the first step is no chance of one batch
        (3e-4, 6.1e-3, {}, True),
        (3e-13, 5e-3, {"staleness/mean": 1.0}, False),  # samples are of older weights, as they should be
    ],
)
def test_a_mismatch_from_the_first_sync_on_is_told_by_the_step_before_it(
    first: float, then: float, more: Row, said: bool
) -> None:
    found = findings(run(lambda step, row: more | {"mismatch/k3": first if step == 1 else then}))
    assert [(f.rule, f.step) for f in found] == [("mismatch_growth", 8)] * said
    assert not said or "in the first step: weight syncs leave something old" in found[0].message


def test_solved_problems_excuse_a_low_entropy() -> None:
    solved = late(actor__entropy=0.02, reward__correct_fraction=0.99)
    assert begun(run(solved)) == []


def test_groups_of_one_are_no_groups_without_a_signal() -> None:
    """Every group of one sample is all right or all wrong; where groups are not compared, that is nothing."""
    rows = run(
        late(group__zero_signal_fraction=1.0, group__all_wrong_fraction=0.7, group__all_correct_fraction=0.3)
    )
    assert [f.rule for f in findings(rows, contexts=[Context(max_tokens=9, grouped=False)])] == []
    rows = run(always(reward__correct_fraction=0.0, reward__mean=0.0))
    assert [f.rule for f in findings(rows, contexts=[Context(max_tokens=9, grouped=False)])] == ["all_wrong"]


def test_a_stage_starts_its_own_comparison() -> None:
    """Another length is no drift when the stage has brought it; within the stage it is."""

    def staged(step: int, row: Row) -> Row:
        return {"stage/number": float(step > 30), "response_length/mean": 100.0 if step > 30 else 400.0}

    two = [Context(max_tokens=1024), Context(max_tokens=128)]
    assert findings(run(staged), contexts=two) == []
    rows = run(
        lambda step, row: staged(step, row) | {"response_length/truncated_fraction": float(step > 30) / 2}
    )
    assert "rollout.max_tokens (128)" in findings(rows, contexts=two)[0].message


def test_what_a_stage_begins_with_is_not_held_against_the_start_of_the_one_before() -> None:
    fallen = late(actor__entropy=0.02)
    assert begun(run(fallen)) == ["entropy_collapse"]
    rows = run(lambda step, row: fallen(step, row) | {"stage/number": float(step > 30)})
    assert findings(rows, contexts=[CONTEXT, CONTEXT]) == []


def test_a_verifier_that_is_mostly_wrong_from_the_start_is_found() -> None:
    rows = run(lambda step, row: {"audit/rejected": 8.0, "reward/correct_fraction": 0.5})
    assert begun(rows) == ["reward_hacking"]


def test_statistics() -> None:
    # Wilson 1927: 5 of 10 -> 0.2366 to 0.7634; none of 10 -> 0 to 0.2775.
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    # Means 2 and 4, both variances 1, three values each: 2 / sqrt(2/3).
    assert rise([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]) == pytest.approx(2.449490, abs=1e-6)
    assert rise([1.0, 1.0], [1.0, 1.0]) == 0 and rise([1.0, 1.0], [2.0, 2.0]) == math.inf
    assert finite({"step": 3, "a": None, "b": math.nan, "event": "eval", "c": 1}) == {"step": 3.0, "c": 1.0}


def known_keys() -> set[str]:
    lines = (GOLDEN / "schema_keys.txt").read_text().splitlines()
    keys = {line.split(":")[0].removeprefix("rl.") for line in lines if line.startswith("rl.")}
    for line in lines:
        if match := re.match(r"algorithm\.(\w+)=(\w+)\.(\w+)", line):
            axis, option, field = match.groups()
            keys |= {f"algorithm.{axis}", f"algorithm.{axis}.{field}", f"algorithm/{axis}={option}"}
    keys |= {f"environments.<name>.{name}" for name in ("step_s", "call_s", "workers")}
    sources = {f"data.<source>.{name}" for name in ("weight", "verifiers", "prompt", "system")}
    return keys | sources | {"verifiers.<name>", "verifiers.<name>.extraction"}


@pytest.mark.parametrize("name", RULES)
def test_advice_names_keys_that_exist(name: str) -> None:
    named = re.findall(r"(?:algorithm/\w+=\w+|[a-z_]+(?:\.(?:[a-z_]+|<\w+>))+)", RULES[name].meaning)
    assert set(named) <= known_keys()
    assert named or "rollouts/" in RULES[name].meaning


@pytest.mark.parametrize("name", RULES)
def test_keys_to_change_exist(name: str) -> None:
    """Those of the rule itself, and those its sentence names."""
    several = Context(max_tokens=9, first_verifier="<name>")
    sections = {"data.<source>", "algorithm.shaping", "algorithm/shaping=soft_overlong"}
    assert {key_of(key, several) for key in RULES[name].change} <= known_keys() | sections
    assert RULES[name].change


def test_the_order_has_every_rule() -> None:
    assert sorted(ORDER) == sorted(RULES)


def test_the_controller_acts_on_findings_that_exist() -> None:
    assert set(vars(Actions())) <= set(RULES)


def table() -> list[str]:
    """Rows of docs/diagnosis.md, out of the code."""
    rows = []
    for rule in map(RULES.__getitem__, ORDER):
        condition = " ".join((rule.check.__doc__ or "").split())
        rows.append(f"| `{rule.name}` | {rule.severity} | {condition} | {rule.meaning} |")
    return rows


def test_every_symptom_is_a_heading_of_the_page_on_trouble() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {rule.symptom for rule in RULES.values()} | set(FAILURES.values()) <= anchors


def test_the_page_has_every_rule_as_it_is() -> None:
    lines = PAGE.read_text().splitlines()
    assert [line for line in lines if re.match(r"\| `\w+` \| (warning|critical) \|", line)] == table()


if __name__ == "__main__":
    print("\n".join(table()))
