"""What verifiers do with gold answers: whether they read any, which they can use, and several of a problem.

A verifier judges by one gold. Of several any counts, and the pool sees to that for all verifiers alike.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict

Golds = str | Sequence[str]
"""One gold, or several of which any counts."""


class Reads(Enum):
    """What a verifier does with the golds of a problem: its class attribute `reads`, `any_gold` without."""

    any_gold = "any_gold"
    """A response is right that is right by one of them."""
    every_gold = "every_gold"
    """Only one that is right by all of them: where being wrong is what counts."""
    no_gold = "no_gold"
    """Rows need no `answer`; what the verdict depends on stands in other columns or in the response."""


def reads(verifier: Any) -> Reads:
    """What `verifier` does with gold answers."""
    return getattr(verifier, "reads", Reads.any_gold)


def wants_rows(verifier: Any) -> bool:
    """Whether `verifier` is asked about whole groups and the columns of rows as they are (`python`)."""
    return bool(getattr(verifier, "wants_rows", False))


def judged_by(verifier: Any, golds: Golds) -> list[str]:
    """The golds a verdict is asked for, one after the other."""
    given = [golds] if isinstance(golds, str) else list(golds) or [""]
    return given[:1] if reads(verifier) is Reads.no_gold else given


def fault_of(
    verifiers: Mapping[str, Any], names: list[str], gold: str | None, extra: dict[str, Any]
) -> str | None:
    """Why one of the named verifiers cannot use a gold, None where all can; unknown ones can.

    Of a row without a gold (None), "" where the lack of it is why.
    """
    for name in names:
        verifier = verifiers.get(name)
        if gold is None and verifier is not None and reads(verifier) is not Reads.no_gold:
            return ""
        check = getattr(verifier, "check_gold", None)
        fault = check(gold or "", extra) if check else None
        if fault is not None:
            return f"{name}: {fault}"
    return None


def settles(verdict: Verdict, use: Reads) -> bool:
    """Whether the verdict by one gold is the verdict by all, whatever the others say."""
    return verdict.scored and (verdict.reason is Reason.correct) == (use is Reads.any_gold)


def together(verdicts: list[Verdict], use: Reads) -> Verdict:
    """The verdict by several golds out of the verdicts by each: the best, or the worst for `every_gold`.

    A timeout or a crash is it only where it might have changed the outcome.
    """
    ms = sum(verdict.ms for verdict in verdicts)
    rank = {True: 1, False: -1}[use is Reads.any_gold]
    scored = [verdict for verdict in verdicts if verdict.scored]
    best = max(scored, key=lambda v: (rank * (v.reason is Reason.correct), rank * v.score), default=None)
    if best is None or (len(scored) < len(verdicts) and not settles(best, use)):
        best = next(verdict for verdict in verdicts if not verdict.scored)
    return replace(best, ms=ms)


class Together:
    """A future for the verdict by several golds, done when the verdicts by each are."""

    def __init__(self, known: list[Verdict], waiting: list[Future[Verdict]], use: Reads) -> None:
        self.future: Future[Verdict] = Future()
        self.future.set_running_or_notify_cancel()
        self._known, self._waiting, self._use = known, waiting, use
        self._missing = len(waiting)
        self._lock = threading.Lock()
        for each in waiting:
            each.add_done_callback(self._arrived)

    def _arrived(self, _: Future[Verdict]) -> None:
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        try:
            verdicts = [*self._known, *(each.result() for each in self._waiting)]
        except RuntimeError as ended:  # the pool's own end
            self.future.set_exception(ended)
        else:
            self.future.set_result(together(verdicts, self._use))
