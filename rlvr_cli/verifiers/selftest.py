"""Whether a verifier accepts gold answers and refuses wrong ones, through the pool that training uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Verdict
from rlvr_cli.verifiers.pool import Pool


@dataclass(slots=True, kw_only=True)
class Failure:
    """A response that was scored the other way round."""

    id: str
    """Of the row."""
    answer: str
    response: str
    verdict: Verdict | None
    """None: the verifier cannot use the gold answer, and `response` says why."""
    kind: str = ""
    """Class of spelling or of mistake; "" where the verifier names none."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Of one class."""

    responses: int = 0
    failed: int = 0
    """Of right ones those without score 1, of wrong ones those with a score above 0."""


@dataclass(slots=True, kw_only=True)
class SelfTest:
    golds: int = 0
    """Gold responses scored; a gold the verifier cannot use counts as one."""
    mutants: int = 0
    refused: list[Failure] = field(default_factory=list)
    """Gold responses that did not score 1 (false negatives), those without a verdict included."""
    accepted: list[Failure] = field(default_factory=list)
    """Wrong responses that scored above 0 (false positives)."""
    unscored: int = 0
    """Timeouts and crashes, on either side."""
    right: dict[str, Tally] = field(default_factory=dict)
    """Class of spelling -> gold responses of it."""
    wrong: dict[str, Tally] = field(default_factory=dict)
    """Class of mistake -> wrong responses of it."""
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def false_negative_rate(self) -> float:
        return len(self.refused) / self.golds if self.golds else 0.0

    @property
    def false_positive_rate(self) -> float:
        return len(self.accepted) / self.mutants if self.mutants else 0.0

    @property
    def rate(self) -> float:
        """What a floor is compared with: the share judged rightly, on the worse of the two sides."""
        return 1.0 - max(self.false_negative_rate, self.false_positive_rate)


def testable(verifier: Any) -> bool:
    return hasattr(verifier, "gold_responses") and hasattr(verifier, "mutate")


def self_test(pool: Pool, name: str, verifier: Any, rows: Iterable[dict[str, Any]]) -> SelfTest:
    """Score each row's gold answer and wrong answers made of it.

    `rows`: {id, answer, extra}; `name`: what the pool calls `verifier`. UserError where the verifier
    says nothing about its gold answers (no `gold_responses`, no `mutate`).
    """
    if not testable(verifier):
        raise UserError(
            f"verifier '{name}' ({verifier.name}) has no self-test: it has no form of gold answer"
        )
    result, waiting = SelfTest(), []
    for row in rows:
        answer, extra = row["answer"], row["extra"]
        fault = verifier.check_gold(answer, extra) if hasattr(verifier, "check_gold") else None
        if fault is not None:
            result.golds += 1
            result.refused.append(Failure(id=row["id"], answer=answer, response=fault, verdict=None))
            continue
        for right, responses in (
            (True, verifier.gold_responses(answer, extra)),
            (False, verifier.mutate(answer, extra)),
        ):
            for kind, response in _by_class(responses):
                waiting.append((right, kind, row, response, pool.submit(name, response, answer, extra)))
    for right, kind, row, response, future in waiting:
        failure = Failure(
            id=row["id"], answer=row["answer"], response=response, verdict=future.result(), kind=kind
        )
        _count(result, right, failure)
    return result


def _by_class(responses: list[str] | dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    classes = responses if isinstance(responses, dict) else {"": responses}
    return ((kind, response) for kind, found in classes.items() for response in found)


def _count(result: SelfTest, right: bool, found: Failure) -> None:
    """`found` is a failure only if its verdict makes it one."""
    verdict = found.verdict
    assert verdict is not None
    result.verdicts.append(verdict)
    result.unscored += not verdict.scored
    if right:
        result.golds += 1
        failed = not verdict.scored or verdict.score < 1
        failures, classes = result.refused, result.right
    else:
        result.mutants += 1
        failed = verdict.scored and verdict.score > 0
        failures, classes = result.accepted, result.wrong
    tally = classes.setdefault(found.kind, Tally())
    tally.responses += 1
    if failed:
        tally.failed += 1
        failures.append(found)
