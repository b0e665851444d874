"""Of several golds any counts, for every verifier, in the pool alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from rlvr_cli import verifiers
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.choice import Choice
from rlvr_cli.verifiers.format import Format
from rlvr_cli.verifiers.ifeval import Ifeval
from rlvr_cli.verifiers.incorrect import Incorrect
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.random import Random
from rlvr_cli.verifiers.reward_model import RewardModel
from rlvr_cli.verifiers.several_golds import Reads, fault_of, reads, settles, together


@dataclass(kw_only=True)
class Slow:
    """By its gold: right, half right, late, dead, or wrong; a cheap verdict for `fast`."""

    name: str = "slow"

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        return Verdict(score=1.0, reason=Reason.correct) if answer == "fast" else None

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        if answer == "late":
            time.sleep(9)
        if answer == "dead":
            raise ValueError("dead")
        score = {"right": 1.0, "half": 0.5}.get(answer, 0.0)
        return Verdict(score=score, reason=Reason.correct if score == 1 else Reason.wrong, extracted=answer)


VERIFIERS = {
    "math": Math(),
    "match": Match(),
    "choice": Choice(),
    "incorrect": Incorrect(),
    "random": Random(p=0.5),
    "format": Format(require_box=True),
    "slow": Slow(),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(VERIFIERS, Verification(workers=2, timeout_s=1.0)) as made:
        yield made


@pytest.mark.parametrize(
    ("verifier", "response", "golds", "score"),
    [
        ("math", r"\boxed{\frac12}", ["7", "0.5"], 1.0),
        ("math", r"\boxed{\frac12}", ["0.5", "7"], 1.0),
        ("math", r"\boxed{3}", ["7", "0.5"], 0.0),
        ("math", r"\boxed{x+1}", ["y", "1+x", "7"], 1.0),  # needs a worker
        ("match", "dog", ["cat", "dog"], 1.0),
        ("match", "cow", ["cat", "dog"], 0.0),
        ("choice", "Answer: B", ["A", "B"], 1.0),
        ("format", r"\boxed{3}", ["1", "2"], 1.0),
        ("incorrect", r"\boxed{3}", ["1", "2"], 1.0),
        ("incorrect", r"\boxed{2}", ["1", "2"], 0.0),  # right by one of them: not wrong
    ],
)
def test_any_counts(pool: Pool, verifier: str, response: str, golds: list[str], score: float) -> None:
    assert pool.submit(verifier, response, golds, {}).result(30).score == score
    [verdict] = [future.result(30) for future in pool.submit_group(verifier, [response], golds, {})]
    assert verdict.score == score


def test_chance_does_not_grow_with_the_golds(pool: Pool) -> None:
    responses = [f"r{n}" for n in range(400)]
    one, four = (
        [f.result(9).score for f in pool.submit_group("random", responses, golds, {})]
        for golds in (["a"], ["a", "b", "c", "d"])
    )
    assert one == four


@pytest.mark.slow
@pytest.mark.parametrize(
    ("golds", "reason", "score"),
    [
        (["late", "fast"], Reason.correct, 1.0),
        (["late", "right"], Reason.correct, 1.0),
        (["dead", "right"], Reason.correct, 1.0),
        (["late", "wrong"], Reason.timeout, None),
        (["wrong", "dead", "half"], Reason.crash, None),
        (["wrong", "half"], Reason.wrong, 0.5),
    ],
)
def test_no_verdict_only_where_none_is_right(
    pool: Pool, golds: list[str], reason: Reason, score: float | None
) -> None:
    started = time.monotonic()
    verdict = pool.submit("slow", "", golds, {}).result(30)
    assert verdict.reason is reason and (score is None or verdict.score == score)
    assert golds != ["late", "fast"] or time.monotonic() - started < 0.5, "no worker is asked"


def verdict(kind: str) -> Verdict:
    score = {"correct": 1.0, "half": 0.5}.get(kind, 0.0)
    reason = Reason.wrong if kind == "half" else Reason(kind)
    return Verdict(score=score, reason=reason, ms=1.0)


def test_the_order_of_golds_does_not_matter() -> None:
    kinds = ("correct", "half", "wrong", "timeout")
    for found in product(kinds, repeat=3):
        made = together([verdict(kind) for kind in found], Reads.any_gold)
        best = next(kind for kind in ("correct", "timeout", "half", "wrong") if kind in found)
        assert (made.score, made.reason, made.ms) == (verdict(best).score, verdict(best).reason, 3.0)
        worst = together([verdict(kind) for kind in found], Reads.every_gold)
        least = next(kind for kind in ("wrong", "half", "timeout", "correct") if kind in found)
        assert (worst.score, worst.reason) == (verdict(least).score, verdict(least).reason)
    assert settles(verdict("correct"), Reads.any_gold) and not settles(verdict("wrong"), Reads.any_gold)
    assert settles(verdict("wrong"), Reads.every_gold) and not settles(verdict("timeout"), Reads.every_gold)


def test_golds_are_needed_by_those_that_read_them() -> None:
    named = {"math": Math(), "format": Format(), "ifeval": Ifeval()}
    assert fault_of(named, ["math", "format"], None, {}) == ""
    assert fault_of(named, ["format", "unknown"], None, {}) is None
    assert fault_of(named, ["math"], "4", {}) is None
    assert (fault_of(named, ["ifeval"], None, {}) or "").startswith("ifeval: instruction_id_list and kwargs")
    rules = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert fault_of(named, ["ifeval"], None, rules) is None


def test_every_verifier_says_whether_it_reads_golds() -> None:
    free = {name for name in verifiers.names() if reads(verifiers.find(name)) is Reads.no_gold}
    assert free == {
        *("always", "random", "format", "length", "language", "majority", "vqa"),
        *("ifeval", "reasoning_gym", "python", "countdown", "environment"),
        *("contains", "tag_count", "rubric", "reasoning_steps", "repetition", "pairwise"),
    }
    assert reads(RewardModel(path="m")) is Reads.no_gold  # it depends on an option
    assert reads(RewardModel(path="m", gain=1.0)) is Reads.any_gold
