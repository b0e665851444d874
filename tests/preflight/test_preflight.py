"""Whether a recipe can learn: what is measured, what is refused and with which advice."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli import compose
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.preflight.advice import refusal, warnings
from rlvr_cli.preflight.facts import Facts, facts_of, row_of
from rlvr_cli.preflight.golds import Shift
from rlvr_cli.preflight.table import lines_of
from rlvr_cli.schema import Recipe, Unscored
from rlvr_cli.verifiers.choice import Choice
from rlvr_cli.verifiers.math import Math

VOCABULARY = 100
TOLERANCE = 0.1


@cache
def tiny_dapo() -> Recipe:
    found = compose.load("tiny_dapo", [])
    assert isinstance(found, Recipe)
    return found


@pytest.fixture
def recipe() -> Recipe:
    return tiny_dapo()


def group(
    index: int,
    rewards: list[float],
    *,
    reason: Reason | None = None,
    finished: bool = True,
    same: bool = False,
    nats: float = 1.0,
    source: str = "train",
    detail: str = "why",
) -> Group:
    """A verified group whose score is its correctness; `reason`: of every verdict, whatever it says."""
    said = [Reason.correct if r >= 1 else Reason.wrong for r in rewards] if reason is None else None
    reasons = said or [reason or Reason.wrong for _ in rewards]
    completions = [
        Completion(
            tokens=np.array([1, 2, 0 if same else n], np.int32),
            logprobs=np.full(3, -nats, np.float32),
            text=f"so \\boxed{{{n}}}",
            finished=finished,
        )
        for n in range(len(rewards))
    ]
    unread = reason not in (None, Reason.wrong, Reason.correct)
    return Group(
        problem=Problem(
            id=str(index), prompt="47+85=", tokens=[1], answer="132", source=source, verifiers=["math"]
        ),
        index=index,
        completions=completions,
        verdicts=[
            {
                "math": Verdict(
                    score=r, reason=why, extracted=None if unread else str(n), ms=2.0, detail=detail
                )
            }
            for n, (r, why) in enumerate(zip(rewards, reasons, strict=True))
        ],
        scores=list(rewards),
        correct=list(rewards),
    )


def facts(
    groups: list[Group], *, keep: list[bool] | None = None, needs_group: bool = True, verifier: Any = None
) -> Facts:
    judges = {"math": verifier or Math()}
    rows = [row_of(g, judges) for g in groups]
    kept = [True] * len(groups) if keep is None else keep
    return replace(facts_of(groups, rows, kept, needs_group, VOCABULARY, judges), mismatch_mean=1e-3)


def many(rewards: list[float], count: int = 32, **options: Any) -> list[Group]:
    return [group(n, rewards, **options) for n in range(count)]


MIXED = [1.0, 0.0, 0.0, 1.0]
WRONG = [0.0] * 4
RIGHT = [1.0] * 4


def test_the_numbers_of_a_small_preflight() -> None:
    groups = [
        group(0, MIXED), group(1, RIGHT), group(2, WRONG, source="hard"), group(3, [1, 1, 1, math.nan]),
        group(4, [0, 0, 0, 1], finished=False), group(5, WRONG, reason=Reason.no_answer, same=True),
    ]  # fmt: skip
    found = facts(groups)
    assert (found.prompts, found.samples, found.signal, found.useful) == (6, 4, 2, 2)
    assert (found.all_right, found.all_wrong) == (2, 2)
    assert found.correct == pytest.approx((2 + 4 + 3 + 1) / 23)
    assert found.histogram == {"0": 2, "to 1/4": 1, "to 1/2": 1, "to 3/4": 0, "below 1": 0, "1": 2}
    assert found.truncated == pytest.approx(1 / 6)
    assert found.repeated == pytest.approx(3 / 18)
    assert found.nats == pytest.approx(1.0) and found.uniform == pytest.approx(math.log(100))
    assert found.verifiers["math"].verdicts == 24 and found.verifiers["math"].p99_ms == pytest.approx(2)
    assert found.verifiers["math"].unread == pytest.approx(4 / 24)
    assert found.sources["hard"] == {"prompts": 1, "signal": 0, "correct": 0.0}
    assert {e["reason"] for e in found.examples} == {"correct", "wrong", "no_answer"}


def test_golds_of_another_row_are_refused_though_there_is_a_signal() -> None:
    moved = replace(facts(many(MIXED)), shifts={"train": Shift(offset=-1, prompts=24, own=2, of=32)})
    assert refusal(moved, tiny_dapo(), TOLERANCE) == (
        "preflight: the golds of data.train stand in another row: responses to 24 of 32 prompts give the "
        "gold 1 row before, and to 2 their own; mend the file (data.train.path), or how its columns were "
        "joined; "
        "preflight.enabled=false trains all the same"
    )
    assert facts(many(MIXED)).shifts == {}


def test_a_faulty_prompt_is_the_cause_where_there_is_no_signal_and_else_a_warning() -> None:
    fault = "the prompts of data.train do not open the answer"
    silent = replace(facts(many(WRONG, reason=Reason.no_answer)), template=[fault])
    assert fault in str(refusal(silent, tiny_dapo(), TOLERANCE))
    speaking = replace(facts(many(MIXED)), template=[fault])
    assert refusal(speaking, tiny_dapo(), TOLERANCE) is None
    assert warnings(speaking, tiny_dapo(), TOLERANCE) == [fault]


def test_empty_responses_are_told_with_the_end_of_a_prompt_and_a_template_that_was_put_in_place() -> None:
    groups = many(WRONG, reason=Reason.no_answer)
    for each in groups:
        for completion in each.completions:
            completion.text = " "
    found = facts(groups)
    assert found.empty == 1
    said = str(refusal(found, tiny_dapo(), TOLERANCE))
    assert "100% of the responses are empty" in said and "here in '47+85='" in said
    assert "the template that the model came with" not in said
    said = str(refusal(replace(found, replaced=True), tiny_dapo(), TOLERANCE))
    assert "model.chat_template is not the template that the model came with" in said
    assert any(
        "30% of the responses are empty" in w
        for w in warnings(replace(facts(many(MIXED)), empty=0.3), tiny_dapo(), TOLERANCE)
    )


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.3, 1.0, math.nan]), min_size=3, max_size=3), min_size=1))
def test_every_group_is_counted_once_and_only_differing_scores_are_a_signal(
    scores: list[list[float]],
) -> None:
    found = facts([group(n, each) for n, each in enumerate(scores)])
    known = [[x for x in each if not math.isnan(x)] for each in scores]
    assert sum(found.histogram.values()) == sum(bool(each) for each in known)
    assert found.signal == sum(len(set(each)) > 1 for each in known)
    assert found.histogram["1"] == found.all_right and found.histogram["0"] == found.all_wrong
    assert found.signal + found.all_right + found.all_wrong <= len(scores)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (many(WRONG), ["too hard", "data.train", "math", "e.g. '0' where '132' is wanted", "8.9%"]),
        (many(RIGHT), ["every response to 32 prompts is right", "harder problems in data.train"]),
        (many(WRONG, finished=False, reason=Reason.no_answer), ["100% of 32", "rollout.max_tokens=40"]),
        (many(WRONG, reason=Reason.no_answer), ["math.extraction=boxed", "data.train.prompt", "'so "]),
        (many(WRONG, reason=Reason.refused), ["refuses 100%", "(why)", "verification.timeout_s (6)"]),
        (many(WRONG, nats=4.5, finished=False), ["drawn at random", "model.path", "`rlvr sft`"]),
        (many(WRONG, same=True), ["are the same", "rollout.temperature"]),
        (many(MIXED, same=True), ["are the same", "rollout.temperature"]),
        (many(RIGHT, 16) + many(WRONG, 16), ["16 all right, 16 all wrong", "batch.group_size", "8.9%"]),
        (many(MIXED, reason=Reason.crash), ["100% of the verdicts of verifiers.math crash (why)"]),
        (
            many(MIXED, reason=Reason.crash, detail="environment game: [Errno 111]"),
            ["100% of the verdicts of verifiers.math are missing: environments.game failed ([Errno 111])"],
        ),
        (many(MIXED, reason=Reason.timeout), ["time out", "verification.timeout_s is 6"]),
    ],
)  # fmt: skip
def test_what_cannot_learn_is_refused_with_the_key_to_change(
    made: list[Group], said: list[str], recipe: Recipe
) -> None:
    text = refusal(facts(made), recipe, TOLERANCE)
    assert text is not None and "\n" not in text and "preflight.enabled=false" in text
    for part in said:
        assert part in text


def test_a_verifier_that_fits_no_gold_answer_is_named_before_anything_else(recipe: Recipe) -> None:
    cut = many(WRONG, reason=Reason.no_answer, finished=False)
    text = refusal(facts(cut, verifier=Choice()), recipe, TOLERANCE)
    assert text is not None and "cannot use 32 of 32 gold answers ('132': it is neither a letter" in text
    assert "data.train.verifiers" in text


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 40))
def test_one_group_with_a_signal_is_enough_not_to_be_refused(useful: int, others: int) -> None:
    made = many(MIXED, useful) + many(WRONG, others, finished=False)
    assert refusal(facts(made), tiny_dapo(), TOLERANCE) is None


def test_a_mismatch_beyond_the_tolerance_is_refused_unless_the_nucleus_explains_it(recipe: Recipe) -> None:
    good = facts(many(MIXED))
    assert refusal(good, recipe, 1e-4) is not None
    assert "rollout.probe_tolerance (0.0001)" in str(refusal(good, recipe, 1e-4))
    assert refusal(replace(good, mismatch_mean=math.nan), recipe, TOLERANCE) is not None
    nucleus = replace(recipe, rollout=replace(recipe.rollout, top_p=0.9))
    assert refusal(good, nucleus, 1e-4) is None


def test_a_single_sample_without_a_verdict_is_refused_where_it_would_end_the_run(recipe: Recipe) -> None:
    made = [*many(MIXED, 31), group(31, MIXED, reason=Reason.timeout)]
    assert refusal(facts(made), recipe, TOLERANCE) is None
    strict = replace(recipe, verification=replace(recipe.verification, unscored=Unscored.fail))
    assert "verification.unscored is fail" in str(refusal(facts(made), strict, TOLERANCE))


def test_without_comparison_in_groups_scores_must_differ_between_prompts(recipe: Recipe) -> None:
    halves = many(RIGHT, 16) + many(WRONG, 16)
    assert refusal(facts(halves, needs_group=False), recipe, TOLERANCE) is None
    assert refusal(facts(many(WRONG), needs_group=False), recipe, TOLERANCE) is not None
    alone = [group(n, [float(n % 2)]) for n in range(32)]  # PPO with one sample for each prompt
    assert refusal(facts(alone, needs_group=False), recipe, TOLERANCE) is None


def test_a_filter_that_drops_every_group_is_named(recipe: Recipe) -> None:
    text = refusal(facts(many(MIXED), keep=[False] * 32), recipe, TOLERANCE)
    assert text is not None and "algorithm.filter=zero_signal keeps none of the 32 groups" in text


def test_borderline_is_warned_of(recipe: Recipe) -> None:
    rare = facts(
        [group(0, MIXED), *(group(n, WRONG, finished=n % 2 == 0) for n in range(1, 32))],
        keep=[True] + [False] * 31,
    )
    said = " | ".join(warnings(rare, recipe, TOLERANCE))
    for part in ("1 of 32 groups have a signal", "easier problems in data.train", "rollout.max_rounds=10",
                 "50% of the responses are cut at rollout.max_tokens=40"):  # fmt: skip
        assert part in said
    assert list(warnings(facts(many(MIXED)), recipe, TOLERANCE)) == []
    sources = facts(many(MIXED, 16) + [group(n, WRONG, source="hard") for n in range(16, 32)])
    assert warnings(sources, recipe, TOLERANCE) == ["data.hard: none of its 16 groups has a signal"]
    close = replace(facts(many(MIXED)), mismatch_mean=0.06)
    assert "algorithm/mismatch=truncate" in warnings(close, recipe, TOLERANCE)[0]


@pytest.mark.parametrize(("milliseconds", "slow"), [(2900.0, False), (3100.0, True)])
def test_a_verifier_that_takes_more_than_half_its_time_is_warned_of(
    milliseconds: float, slow: bool, recipe: Recipe
) -> None:
    """verification.timeout_s is 6 seconds, and what verdicts took is measured in milliseconds."""
    made = many(MIXED)
    for verdict in (
        verdict for found in made for verdicts in found.verdicts for verdict in verdicts.values()
    ):
        verdict.ms = milliseconds
    said = [line for line in warnings(facts(made), recipe, TOLERANCE) if "99th percentile" in line]
    assert said == (
        ["verifiers.math takes 3.1 s at the 99th percentile, more than half of verification.timeout_s (6)"]
        if slow
        else []
    )


def test_the_table_shows_every_number_on_a_line_of_its_own() -> None:
    lines = lines_of(replace(facts(many(MIXED)), seconds={"rollout": 1.0}, step_s=2.0, mismatch_max=0.5))
    assert lines["sampled"] == "32 prompts x 4 responses"
    assert lines["groups with a signal"] == "32 (100%); 0 all right, 0 all wrong"
    assert lines["verifiers.math"] == "correct 50.0%, wrong 50.0%; p50 2 ms, p99 2 ms"
    assert lines["response tokens"] == "p1 3, p50 3, p90 3, p99 3, max 3"
    assert "at 95% fewer than 8.9% of all prompts" in lines_of(facts(many(WRONG)))["groups with a signal"]
