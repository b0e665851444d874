"""The answer is a given string: for synthetic tasks with one way to write the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Extraction, Rejected, extract
from rlvr_cli.verifiers.golds import wrapped, wrong_for


@dataclass(kw_only=True)
class Match:
    name: str = "match"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = None
    """Where the answer stands in the response; null: the whole response is the answer."""
    strip: bool = True
    """Ignore white space at both ends."""
    lower: bool = False
    """Ignore case."""

    def __post_init__(self) -> None:
        if self.extraction is not None and not self.strip:
            raise ValueError("strip is false; what an extraction finds is always stripped: leave one out")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            found = response if self.extraction is None else extract(response, self.extraction)
        except Rejected as rejected:
            return rejected.verdict
        equal = self._form(found) == self._form(answer)
        return Verdict(
            score=float(equal), reason=Reason.correct if equal else Reason.wrong, extracted=found[:300]
        )

    inline = verify

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if self._form(answer) else "it is empty"

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [wrapped(answer, self.extraction)]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        wrong = [
            text for text in wrong_for(self.extraction, answer) if self._form(text) != self._form(answer)
        ]
        return ["", *(wrapped(text, self.extraction) for text in wrong)]

    def _form(self, text: str) -> str:
        text = text.strip() if self.strip else text
        return text.lower() if self.lower else text
