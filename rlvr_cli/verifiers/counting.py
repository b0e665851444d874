"""How many there are: one whole number in the answer, or the number of points in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.boxes.reader import Form, read_points
from rlvr_cli.verifiers.extract import Extraction, extract
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.rejected import Rejected

WORDS = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBER = re.compile(
    r"(?<![\w.,])(?:[-+−]?[0-9][0-9.,]*(?![\w%])|(?:" + "|".join(WORDS) + r")(?![\w-]))", re.IGNORECASE
)
MOST = 2000
"""Points counted, at most; also characters of an answer with a number."""


@dataclass(kw_only=True)
class Counting:
    name: str = "counting"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in the response; null: the whole response is the answer."""
    points: Form | None = None
    """Count the points that the answer has in this form (molmo, json, numbers); null: it says a number."""
    point_key: str = "point_2d"
    """Of points=json: key of the numbers."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        gold = number_in(answer)
        try:
            text = response if self.extraction is None else extract(response, self.extraction)
            if self.points is not None:
                found = len(read_points(text, self.points, False, MOST, (self.point_key, "label")))
            else:
                found = _only_number(text)
        except Rejected as rejected:
            return rejected.verdict
        right = found == gold
        return Verdict(
            score=float(right), reason=Reason.correct if right else Reason.wrong, extracted=str(found)
        )

    inline = verify

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if number_in(answer) is not None else "it is no whole number"

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        gold = number_in(answer)
        if self.points is not None or gold is None:
            return []
        spelled = [str(gold), f"There are {gold} of them.", *([WORDS[gold]] if 0 <= gold <= 20 else [])]
        return [wrapped(text, self.extraction) for text in spelled]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        gold = number_in(answer)
        if self.points is not None or gold is None:
            return [""]
        wrong = (gold + 1, f"1{gold}", f"{gold}.5", f"{gold} or {gold + 1}", "several")
        return ["", *(wrapped(str(text), self.extraction) for text in wrong)]


def number_in(text: str) -> int | None:
    """The whole number that a text is, in digits or in a word up to twenty; None where it is none."""
    text = text.strip().lower().rstrip(".").replace("−", "-")
    if text in WORDS:
        return WORDS.index(text)
    if not re.fullmatch(r"[-+]?(?:[0-9]{1,9}|[0-9]{1,3}(?:,[0-9]{3}){1,2})(?:\.0{1,9})?", text):
        return None
    return int(text.partition(".")[0].replace(",", ""))


def _only_number(text: str) -> int:
    """Rejected where a text has no whole number, or several that differ."""
    if len(text) > MOST:
        raise Rejected(Reason.refused, f"the answer is longer than {MOST} characters")
    found = {each[0].rstrip(".,").lower() for each in _NUMBER.finditer(text)}
    if not found:
        raise Rejected(Reason.no_answer, "the answer has no number", text[:300])
    values = {number_in(each) for each in found}
    if None in values:
        raise Rejected(Reason.malformed, "a number of the answer is not whole", text[:300])
    if len(values) > 1:
        raise Rejected(Reason.refused, "several numbers", text[:300])
    [value] = values
    assert value is not None
    return value
