"""How often the gold word stands in the answer, less a price for words that are said again.

The hidden gold reward of the small world of `tiny_rlmt` (data/wording.py): what a reward model trained on
answers without much repetition cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.shown import Extract, Shown


@dataclass(kw_only=True)
class Keyword(Shown):
    by_nature = "a word, as often as it is said"
    name: str = "keyword"
    weight: float = 1.0
    gate: bool = False
    """Not possible: its values are no factors from 0 to 1."""
    repetition: float = 0.5
    """Price of saying r words again, times r squared."""
    correct_from: float = 1.0
    """Score from which a response counts as correct."""
    extract: Extract = Extract.after_think
    """What is looked at of a response."""

    def __post_init__(self) -> None:
        self.check_extract()
        if self.repetition < 0:
            raise ValueError(f"repetition is {self.repetition}; it must be at least 0")
        if self.gate:
            raise ValueError("a gate multiplies and takes values from 0 to 1; keyword counts: set gate=false")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        shown = self.answer_in(response)
        words = shown.text.split()
        times, again = words.count(answer), len(words) - len(set(words))
        score = times - self.repetition * again**2
        return Verdict(
            score=score,
            reason=Reason.correct if score >= self.correct_from else Reason.wrong,
            extracted=shown.text[:300],
            detail=f"said {times} times, {again} words again",
            raw=True,
            more=self.extract_metrics(shown),
        )

    inline = verify  # counting is cheap

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return (
            None if len(answer.split()) == 1 else f"the gold answer must be one word, and is {answer!r:.40}"
        )
