"""Text that was read off an image: how near it is to the gold, by edit distance.

ANLS (Biten et al. 2019, 1905.13648): 1 - d / longer length, and 0 where half of it or more is wrong. Of
several golds the best counts, which the pool sees to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.edit_distance import distance
from rlvr_cli.verifiers.extract import Extraction, extract
from rlvr_cli.verifiers.golds import wrapped, wrong_strings
from rlvr_cli.verifiers.rejected import Rejected


class Measure(Enum):
    """What the score is."""

    anls = "anls"
    """Similarity, and 0 where a share of `threshold` or more is wrong."""
    similarity = "similarity"
    """1 less the edit distance over the longer length."""
    exact = "exact"
    """1 for equal texts."""


@dataclass(kw_only=True)
class Ocr:
    name: str = "ocr"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in the response; null: the whole response is the answer."""
    measure: Measure = Measure.anls
    """What the score is: anls, similarity or exact."""
    threshold: float = 0.5
    """Of measure=anls: the share of wrong characters from which the score is 0."""
    case: bool = False
    """Upper and lower case differ."""
    harness: bool = False
    """As lmms-eval and VLMEvalKit compute ANLS: divided by lengths with all blanks, so that padding an answer
    pays; a share of exactly `threshold` still counts."""
    correct_from: float = 1.0
    """Score from which a response counts as correct."""
    max_chars: int = 4000
    """Longer answers are refused."""

    def __post_init__(self) -> None:
        for key in ("threshold", "correct_from"):
            if not 0 < getattr(self, key) <= 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be above 0 and at most 1")
        if self.max_chars < 1:
            raise ValueError(f"max_chars is {self.max_chars}; it must be at least 1")
        if self.harness and self.measure is not Measure.anls:
            raise ValueError(f"harness is a way to compute ANLS, and measure is {self.measure.value}")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            found = response if self.extraction is None else extract(response, self.extraction)
            if len(found) > self.max_chars:
                raise Rejected(Reason.refused, f"the answer is longer than {self.max_chars} characters")
        except Rejected as rejected:
            return rejected.verdict
        score = self.score(found, answer)
        return Verdict(
            score=score,
            reason=Reason.correct if score >= self.correct_from else Reason.wrong,
            extracted=found[:300],
        )

    inline = verify

    def score(self, found: str, gold: str) -> float:
        """In [0, 1]."""
        a, b = self._plain(found), self._plain(gold)
        if self.measure is Measure.exact:
            return float(a == b)
        longer = max(len(found), len(gold)) if self.harness else max(len(a), len(b))
        wrong = distance(a, b) / longer if longer else 0.0
        if self.measure is Measure.similarity:
            return 1 - wrong
        kept = wrong <= self.threshold if self.harness else wrong < self.threshold
        return 1 - wrong if kept else 0.0

    def _plain(self, text: str) -> str:
        text = " ".join(text.split())
        return text if self.case else text.lower()

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        if len(answer) > self.max_chars:
            return f"it is longer than max_chars, {self.max_chars}"
        return None if answer.strip() else "it is blank"

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        spelled = [answer, f"  {answer} "] + ([] if self.case else [answer.upper()])
        same = [text for text in spelled if self._plain(text) == self._plain(answer)]  # ß is SS in capitals
        return [wrapped(text, self.extraction) for text in same]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        """Where there is partial credit an answer that is nearly right earns something."""
        other = "".join(chr(0x4E00 + n % 7) for n in range(len(answer)))
        wrong = [other] + (wrong_strings(answer) if self.measure is Measure.exact else [])
        return ["", *(wrapped(text, self.extraction) for text in wrong if not self.score(text, answer))]
