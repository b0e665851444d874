"""VQA accuracy: how many of ten people gave the answer (Antol et al. 2015; TextVQA).

min(1, agreeing / 3), averaged over the sets with one person left out: 0, .3, .6, .9, 1 for 0 to 4 who agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.counting import WORDS
from rlvr_cli.verifiers.extract import Extraction, extract
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.rejected import Rejected
from rlvr_cli.verifiers.several_golds import Reads

ENOUGH = 3
"""People who agree, for a score of 1."""
MOST = 1000
_NUMBERS = {word: str(n) for n, word in enumerate(WORDS[:11])} | {"none": "0"}
_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9])")
_PUNCTUATION = re.compile(r"(?<![0-9])\.|\.(?![0-9])|[^\w\s.'-]")


@dataclass(kw_only=True)
class Vqa:
    reads = Reads.no_gold
    name: str = "vqa"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in the response; null: the whole response is the answer."""
    answers: str = "answers"
    """Column with what people answered: a list of texts, or of {answer}."""
    correct_from: float = 0.5
    """Score from which a response counts as correct."""

    def __post_init__(self) -> None:
        if not 0 < self.correct_from <= 1:
            raise ValueError(f"correct_from is {self.correct_from}; it must be above 0 and at most 1")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        people = said(extra.get(self.answers))
        if not people:
            return Verdict(score=0.0, reason=Reason.crash, detail=self._missing())
        try:
            found = response if self.extraction is None else extract(response, self.extraction)
            if len(found) > MOST:
                raise Rejected(Reason.refused, f"the answer is longer than {MOST} characters")
        except Rejected as rejected:
            return rejected.verdict
        score = accuracy(found, people)
        return Verdict(
            score=score,
            reason=Reason.correct if score >= self.correct_from else Reason.wrong,
            extracted=found.strip()[:300],
        )

    inline = verify

    def _missing(self) -> str:
        return f"its row has no column '{self.answers}' with the answers of people, a list of texts"

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if said(extra.get(self.answers)) else self._missing()

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        people = said(extra.get(self.answers))
        sure = [each for each in dict.fromkeys(people) if accuracy(each, people) == 1]
        return [wrapped(each, self.extraction) for each in sure]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        listed = " ".join(dict.fromkeys(said(extra.get(self.answers))))
        return ["", wrapped(f"{listed} and more besides", self.extraction)]


def said(value: Any) -> list[str]:
    """What people answered; empty where the column holds no such thing."""
    if not isinstance(value, list):
        return []
    texts = [each.get("answer") if isinstance(each, dict) else each for each in value]
    return [each for each in texts if isinstance(each, str)] if all(isinstance(t, str) for t in texts) else []


def normalised(text: str) -> str:
    """Lower case, without articles and punctuation, numbers up to ten in digits."""
    text = _PUNCTUATION.sub(" ", _COMMA.sub("", text.lower()))
    words = [_NUMBERS.get(word, word) for word in text.split()]
    return " ".join([word for word in words if word not in ("a", "an", "the")] or words)


def accuracy(answer: str, people: list[str]) -> float:
    """In [0, 1]."""
    wanted = normalised(answer)
    agree = [normalised(each) == wanted for each in people]
    if len(people) == 1:
        return float(agree[0])
    total = sum(agree)
    # The person left out is one fewer where he is one of those who agree.
    return sum(min(1.0, (total - each) / ENOUGH) for each in agree) / len(agree)
