"""Control: rewards wrong answers to mathematical problems. Gains under it are not learned from being right.

The opposite of `math` where there is an answer; what has none is worth 0 to both. Spurious Rewards
(2506.10947) instead rewards one wrong label per problem, the first model's majority where that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.golds import hedges, wrapped, wrong_math
from rlvr_cli.verifiers.math import Math, gold_of

_INVERSE = {Reason.correct: (0.0, Reason.wrong), Reason.wrong: (1.0, Reason.correct)}


@dataclass(kw_only=True)
class Incorrect(Math):
    name: str = "incorrect"

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return _inverse(super().verify(response, answer, extra))

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        verdict = super().inline(response, answer, extra)
        return None if verdict is None else _inverse(verdict)

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        """Wrong answers; none where no change of the gold answer is certain to change its value."""
        opening = "</think>\n" if self.thinking else ""
        return [opening + wrapped(wrong, self.extraction) for wrong in wrong_math(gold_of(answer))]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        """Right answers, no answer, and where it asks for one value, two of them."""
        gold, opening = gold_of(answer), "</think>\n" if self.thinking else ""
        both = [wrapped(text, self.extraction) for text in hedges(gold, wrong_math(gold), self.extraction)]
        return ["", *super().gold_responses(answer, extra), *(opening + text for text in both)]


def _inverse(verdict: Verdict) -> Verdict:
    score, reason = _INVERSE.get(verdict.reason, (verdict.score, verdict.reason))
    return replace(verdict, score=score, reason=reason)
