"""Mathematical answers: read into typed values and compared type by type (see the package `mathematics`).

What is decided by comparing fractions and text takes microseconds, in the parent. Roots, polynomials
and equations are compared in a worker, at points; what the reader does not understand goes to math-verify.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Boxes, Extraction, Rejected, boxed, extract
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.mathematics import guard
from rlvr_cli.verifiers.mathematics.equal import compare
from rlvr_cli.verifiers.mathematics.exact import MAX_BITS, NotExact, fold
from rlvr_cli.verifiers.mathematics.points import number_of
from rlvr_cli.verifiers.mathematics.reader import read
from rlvr_cli.verifiers.mathematics.rules import Later, LetterCase, Order, Rules, Units, Unknown
from rlvr_cli.verifiers.mathematics.spellings import right_answers, wrong_answers
from rlvr_cli.verifiers.mathematics.symbolic import symbolic
from rlvr_cli.verifiers.mathematics.values import Expression, Letter, Listing, Named, Opaque, Quantity, Value

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")


@dataclass(kw_only=True)
class Math:
    name: str = "math"
    weight: float = 1.0
    """Share in the reward when a problem has several verifiers."""
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction = Extraction.boxed
    """Where the answer stands: boxed, answer_line, hash, last_number, answer_tags or choice."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""
    max_chars: int = 300
    """Longer answers are refused."""
    boxes: Boxes = Boxes.last
    """Of several boxes the last counts, or a different one on its line is refused: last or refuse_hedging."""
    units: Units = Units.ignore
    """What the unit behind a number means: ignore, if_given or require."""
    letter_case: LetterCase = LetterCase.symbols
    """Where `A` and `a` differ: symbols (not in words), all or none."""
    order: Order = Order.any
    """Whether lists are equal in any order or as_given."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_chars <= 4000:  # Python reads no integer of more than 4300 digits
            raise ValueError(f"max_chars is {self.max_chars}; it must be from 1 to 4000")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return self._judge(response, answer, inline=False) or _verdict(False, None)

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        return self._judge(response, answer, inline=True)

    def key(self, response: str, answer: str, extra: dict[str, Any]) -> tuple[str, str]:
        """Only asked where `inline` found an answer, so extraction succeeds."""
        return extract(response, self.extraction, self.thinking, self.boxes), answer

    def warm(self) -> None:
        symbolic("x+1", "1+x")
        number_of(read(r"\sqrt2").tree)  # type: ignore[union-attr]

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            gold, meant = self._gold(answer)
            if not gold:
                return "it is empty"
            if len(gold) > self.max_chars:
                return f"it has {len(gold)} characters, more than max_chars={self.max_chars}"
            guard.refuse(gold, gold)
            if self.extraction is Extraction.choice and not isinstance(meant, Letter):
                return "it is not one capital letter"
        except Rejected as rejected:
            return rejected.verdict.detail.removeprefix("the gold answer cannot be used: ")
        return None

    def gold_note(self, answer: str) -> str | None:
        """What of a gold answer these options do not compare: its unit; None where all of it is."""
        return f"the unit {units_of(answer)}" if self.units is Units.ignore and units_of(answer) else None

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> dict[str, list[str]]:
        found = self._responses(right_answers(gold_of(answer), self._rules, self.extraction))
        if not self.thinking:
            found["behind reasoning"] = [
                f"<think>Step by step.</think>\n{text}" for text in found["as written"]
            ]
        return found

    def mutate(self, answer: str, extra: dict[str, Any]) -> dict[str, list[str]]:
        wrong = wrong_answers(gold_of(answer), self._rules, self.extraction)
        return {"no answer": [""]} | self._responses(wrong)

    def _responses(self, answers: dict[str, list[str]]) -> dict[str, list[str]]:
        """Responses that give these answers, those aside that are longer than an answer may be."""
        opening = "Step by step.</think>\n" if self.thinking else ""
        return {
            kind: [opening + wrapped(text, self.extraction) for text in found if len(text) <= self.max_chars]
            for kind, found in answers.items()
        }

    @property
    def _rules(self) -> Rules:
        return Rules(self.units, self.letter_case, self.order)

    def _judge(self, response: str, answer: str, inline: bool) -> Verdict | None:
        """The verdict; None if `inline` and a worker must find it."""
        found = None
        try:
            found = extract(response, self.extraction, self.thinking, self.boxes)
            if len(found) > self.max_chars:
                found = found[: self.max_chars] + "..."
                raise Rejected(Reason.refused, f"the answer is longer than {self.max_chars} characters")
            if _INTEGER.fullmatch(found) and _INTEGER.fullmatch(answer):
                return _verdict(int(found) == int(answer), found)
            gold, meant = self._gold(answer)
            guard.refuse(found, gold)
            if found == gold:
                return _verdict(True, found)
            said = self._read(found)
            guard.refuse_contradiction(said)
            try:
                return _verdict(compare(said, meant, self._rules, deep=not inline), found)
            except (Later, Unknown):
                return None if inline else self._algebra(found, gold)
        except Rejected as rejected:
            return replace(rejected.verdict, extracted=rejected.verdict.extracted or found)

    def _algebra(self, found: str, gold: str) -> Verdict:
        """By math-verify, for what the reader does not understand."""
        guard.refuse_costly(found)
        if not guard.comparable(found, gold):
            return _verdict(False, found)
        equal, doubt = symbolic(found, gold)
        return replace(_verdict(equal, found), disputed=bool(doubt), detail=doubt)

    def _read(self, text: str) -> Value:
        return read(text, self.units is not Units.ignore)

    def _gold(self, answer: str) -> tuple[str, Value]:
        """The gold answer as text and as a value. Rejected where it is unusable, as no response causes."""
        try:
            gold = gold_of(answer)
            _usable(gold)
        except Rejected as rejected:
            raise Rejected(
                Reason.crash, f"the gold answer cannot be used: {rejected.verdict.detail}"
            ) from rejected
        return gold, self._read(gold)


@lru_cache(maxsize=8192)
def _usable(gold: str) -> None:
    """Rejected where it costs more to compute than an answer may."""
    value = read(gold)
    if isinstance(value, Opaque):
        guard.refuse_costly(gold)
    if isinstance(value, Expression):
        with suppress(NotExact):
            fold(value.tree, MAX_BITS)


def gold_of(answer: str) -> str:
    """The gold answer itself: after `####` (GSM8K solutions), in its box (MATH solutions).

    Rejected where different boxes stand side by side.
    """
    answer = answer.rpartition("####")[2].strip()
    return boxed(answer, Boxes.refuse_hedging).strip() if "\\boxed" in answer else answer


def units_of(answer: str) -> str | None:
    """The unit that a gold answer carries, as written; None where it has none or cannot be read."""
    try:
        value = read(gold_of(answer), True)
    except Rejected:
        return None
    value = value.value if isinstance(value, Named) else value
    values = value.items if isinstance(value, Listing) else (value,)
    return next((item.unit for item in values if isinstance(item, Quantity)), None)


def _verdict(correct: bool, found: str | None) -> Verdict:
    return Verdict(score=float(correct), reason=Reason.correct if correct else Reason.wrong, extracted=found)
