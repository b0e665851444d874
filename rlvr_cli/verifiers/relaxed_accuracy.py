"""Answers about charts (ChartQA, 2203.10244): numbers within five per cent, all else word for word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Extraction, extract
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.rejected import Rejected

_PLAIN = re.compile(r"[-+]?(?:[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4})?(?:\.[0-9]{1,15})?")
_YEAR = re.compile(r"(?:1[5-9]|20)[0-9]{2}|2100")
CURRENCY = "$€£¥₹"
MOST = 1000


@dataclass(kw_only=True)
class RelaxedAccuracy:
    name: str = "relaxed_accuracy"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in the response; null: the whole response is the answer."""
    tolerance: float = 0.05
    """Share of the gold by which a number may be off."""
    exact_years: bool = False
    """A whole gold from 1500 to 2100 takes that number and no other: 1920 is within 5 % of 2020."""
    published: bool = False
    """As the public function has it: commas, currency and a full stop are no part of a number, and a gold of
    0 is compared as text."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance is {self.tolerance}; it must be at least 0 and below 1")
        if self.published and self.exact_years:
            raise ValueError("the published function takes 1920 for 2020; leave out published or exact_years")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            found = (response if self.extraction is None else extract(response, self.extraction)).strip()
            if not found:
                raise Rejected(Reason.no_answer, "the response is empty")
            if len(found) > MOST:
                raise Rejected(Reason.refused, f"the answer is longer than {MOST} characters")
        except Rejected as rejected:
            return rejected.verdict
        right = self.agrees(found, answer.strip())
        return Verdict(
            score=float(right), reason=Reason.correct if right else Reason.wrong, extracted=found[:300]
        )

    inline = verify

    def agrees(self, found: str, gold: str) -> bool:
        read = _published_number if self.published else number
        ours, theirs = read(found), read(gold)
        if ours is None or theirs is None or (self.published and not theirs):
            same = found.lower() == gold.lower()
            return same or (not self.published and _word(found) == _word(gold))
        if self.exact_years and _YEAR.fullmatch(gold):
            return ours == theirs
        return ours == theirs if not theirs else abs(ours - theirs) / abs(theirs) <= self.tolerance

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if answer.strip() else "it is blank"

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [wrapped(text, self.extraction) for text in (answer, f" {answer} ", answer.upper())]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        value = number(answer)
        wrong = (
            [f"{answer} or not", "nan"]
            if value is None
            else [f"{2 * value + 1:f}", "nan", "inf", "no number"]
        )
        return ["", *(wrapped(text, self.extraction) for text in wrong)]


def number(text: str) -> float | None:
    """A number, thousands' commas, currency, a per cent sign or a final stop with it; None for all else."""
    text = text.strip().rstrip(".").strip(CURRENCY + " ").replace("−", "-")
    percent = text.endswith("%")
    text = text.rstrip("% ")
    if text[:1] in "+-" and text[1:2] in tuple(CURRENCY):
        text = text[0] + text[2:]
    if not _PLAIN.fullmatch(text) or not any(character.isdigit() for character in text):
        return None
    return float(text.replace(",", "")) / (100 if percent else 1)


def _published_number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _word(text: str) -> str:
    return " ".join(text.lower().rstrip(".").split())
