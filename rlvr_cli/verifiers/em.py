"""Exact match of open-domain question answering: case, articles, punctuation and spaces aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers import open_qa
from rlvr_cli.verifiers.extract import Extraction, Rejected, extract
from rlvr_cli.verifiers.golds import wrapped, wrong_for


@dataclass(kw_only=True)
class Em:
    name: str = "em"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in the response; null: the whole response is the answer."""
    f1: bool = False
    """The score is the F1 of the words in common, in the place of 0 and 1; correct is still what matches."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            found = response if self.extraction is None else extract(response, self.extraction)
        except Rejected as rejected:
            return rejected.verdict
        equal = open_qa.exact(found, answer)
        return Verdict(
            score=open_qa.f1(found, answer) if self.f1 else float(equal),
            reason=Reason.correct if equal else Reason.wrong,
            extracted=found.strip()[:300],
        )

    inline = verify

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if open_qa.normalise(answer) else "nothing is left of it without punctuation and articles"

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        spelled = [answer, answer.upper(), f"The {answer}.", f"  {answer} "]
        return [wrapped(text, self.extraction) for text in spelled if open_qa.exact(text, answer)]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        alike = open_qa.f1 if self.f1 else open_qa.exact
        wrong = [text for text in wrong_for(self.extraction, answer) if not alike(text, answer)]
        return ["", *(wrapped(text, self.extraction) for text in wrong)]
