"""Control: rewards wrong answers to mathematical problems. Gains under it are not learned from being right.

The opposite of `math` where there is an answer; what has none is worth 0 to both. Spurious Rewards
(2506.10947) instead rewards one wrong label per problem, the first model's majority where that is wrong:
`math` with `data.<name>.labels` and `keep: wrong`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.several_golds import Reads

_INVERSE = {Reason.correct: (0.0, Reason.wrong), Reason.wrong: (1.0, Reason.correct)}
_NO_ANSWERS = ("no answer", "hedged", "universal")
"""Classes of wrong answers that may be refused: worth nothing to anybody."""


@dataclass(kw_only=True)
class Incorrect(Math):
    reads = Reads.every_gold
    by_nature = "answers that are wrong"
    name: str = "incorrect"

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return _inverse(super().verify(response, answer, extra))

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        verdict = super().inline(response, answer, extra)
        return None if verdict is None else _inverse(verdict)

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> dict[str, list[str]]:
        """Wrong answers; none where no change of the gold answer is certain to change its value."""
        return {
            kind: found for kind, found in super().mutate(answer, extra).items() if kind not in _NO_ANSWERS
        }

    def mutate(self, answer: str, extra: dict[str, Any]) -> dict[str, list[str]]:
        """Right answers, no answer, and where it asks for one value, two of them."""
        none = {
            kind: found
            for kind, found in super().mutate(answer, extra).items()
            if kind in ("no answer", "hedged")
        }
        return super().gold_responses(answer, extra) | none


def _inverse(verdict: Verdict) -> Verdict:
    score, reason = _INVERSE.get(verdict.reason, (verdict.score, verdict.reason))
    return replace(verdict, score=score, reason=reason)
