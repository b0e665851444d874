"""Whether a verifier accepts gold answers and refuses wrong ones, through the pool that training uses."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
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
            for response in responses:
                waiting.append((right, row, response, pool.submit(name, response, answer, extra)))
    for right, row, response, future in waiting:
        _count(result, right, row, response, future)
    return result


def _count(
    result: SelfTest, right: bool, row: dict[str, Any], response: str, future: Future[Verdict]
) -> None:
    verdict = future.result()
    result.verdicts.append(verdict)
    result.unscored += not verdict.scored
    failure = Failure(id=row["id"], answer=row["answer"], response=response, verdict=verdict)
    if right:
        result.golds += 1
        if not verdict.scored or verdict.score < 1:
            result.refused.append(failure)
    else:
        result.mutants += 1
        if verdict.scored and verdict.score > 0:
            result.accepted.append(failure)
