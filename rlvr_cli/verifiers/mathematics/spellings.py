"""A gold answer -> answers that must be accepted and answers that must not be, by class.

Some are made from its text and some from what `read` makes of it. No verdict is asked: it is the
verdicts that are tested with these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.golds import hedges
from rlvr_cli.verifiers.mathematics.changes import changed, other_unit
from rlvr_cli.verifiers.mathematics.changes_alone import numbers
from rlvr_cli.verifiers.mathematics.latex import Style, Unwritable, written
from rlvr_cli.verifiers.mathematics.nodes import Sum
from rlvr_cli.verifiers.mathematics.reader import read
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Order, Rules, Units
from rlvr_cli.verifiers.mathematics.values import (
    Expression,
    Interval,
    Letter,
    Listing,
    Named,
    Number,
    Percentage,
    Quantity,
    Tuple,
    Union,
    Value,
    Word,
)

Answers = dict[str, list[str]]
"""Class -> answers."""
UNIVERSAL = ["1=1", "x^2+1=0"]
"""Answers that a solver may call equal to anything."""
WIDE = Style(r"\dfrac", spaced=True, sized=True)
_GROUPED = re.compile(r"[0-9](?:\{,\}|,\s*(?:\\!\s*)?)[0-9]{3}(?![0-9])")


def value_of(gold: str, rules: Rules) -> Value:
    return read(gold, rules.units is not Units.ignore)


def right_answers(gold: str, rules: Rules, mode: Extraction) -> Answers:
    """The gold answer as written and in other spellings; for `last_number` and `choice` as written only."""
    made = {"as written": [gold]}
    if mode in (Extraction.last_number, Extraction.choice):
        return made
    value = value_of(gold, rules)
    made["other LaTeX"] = [*_restyled(gold, value), *_texts([value], WIDE), *_texts([value])]
    made["other format"] = list(_reformatted(value, rules))
    made["other order"] = _texts(_reordered(value, rules))
    if isinstance(value, Named):
        made["name left out"] = _texts([value.value])
    if isinstance(value, Quantity) and rules.units is Units.ignore:
        made["another unit, not compared"] = _texts(other_unit(value))
    kept = {kind: [text for text in dict.fromkeys(found) if text != gold] for kind, found in made.items()}
    return {kind: found for kind, found in (kept | {"as written": [gold]}).items() if found}


def _texts(values: list[Value], style: Style | None = None) -> list[str]:
    found = []
    for value in values:
        try:
            found.append(written(value, style) if style else written(value))
        except Unwritable:
            continue
    return found


def _restyled(gold: str, value: Value) -> Iterator[str]:
    """Its text with other LaTeX around and in it."""
    if gold[-1].isalnum() or gold[-1] in ")]}":
        yield f"{gold}."
    if r"\frac" in gold:
        yield gold.replace(r"\frac", r"\dfrac")
    if isinstance(value, Tuple | Interval | Listing) and not _GROUPED.search(gold):
        yield re.sub(r"\s*,\s*", ", ", gold)
        tight = re.sub(r"(?<!\\)\s*,\s*", ",", gold)
        if not _GROUPED.search(tight):
            yield tight
    if isinstance(value, Tuple | Interval) and gold[0] in "([" and gold[-1] in ")]" and r"\left" not in gold:
        yield rf"\left{gold[:-1]}\right{gold[-1]}"
    if not isinstance(value, Word | Letter) and "$" not in gold:
        yield rf"\displaystyle {gold}"
        yield f"${gold}$"


def _reformatted(value: Value, rules: Rules) -> Iterator[str]:
    match value:
        case Number(number, _) if number.denominator == 1 and 1000 <= abs(number) < 10**15:
            grouped = f"{number.numerator:,}"
            yield from (grouped, grouped.replace(",", "{,}"), grouped.replace(",", r"\,"))
            digits = str(abs(number.numerator))
            sign, rest = "-" if number < 0 else "", digits[1:].rstrip("0") or "0"
            yield from (
                f"{sign}{digits[0]}.{rest}e{len(digits) - 1}",
                rf"{sign}{digits[0]}.{rest} \times 10^{{{len(digits) - 1}}}",
            )
        case Number(number, _) if number.denominator > 1:
            yield from _texts([Number(number)])
            places = next((n for n in range(1, 10) if (number * 10**n).denominator == 1), 0)
            yield from _texts([Number(number, places)]) if places else ()
        case Number(number, 0) if abs(number) < 1000:
            yield f"{number}.0"
        case Percentage(inner):
            yield from (rf"{text}\text{{ percent}}" for text in _texts([inner]))
        case Letter(letter):
            yield from (
                f"({letter})",
                rf"\text{{{letter}}}",
                rf"\mathbf{{{letter}}}",
                rf"\textbf{{({letter})}}",
            )
        case Word(text, False) if rules.letter_case is not LetterCase.all:
            yield from (rf"\text{{{text.upper()}}}", rf"\text{{{text.lower()}}}")


def _reordered(value: Value, rules: Rules) -> list[Value]:
    match value:
        case Expression(Sum(terms)):
            return [Expression(Sum(terms[::-1]))]
        case Listing(items, braces) if len(items) > 1 and (braces or rules.order is Order.any):
            return [Listing(items[::-1], braces)]
        case Union(parts, minus) if len(parts) > 1:
            return [Union(parts[::-1], minus)]
    return []


def wrong_answers(gold: str, rules: Rules, mode: Extraction) -> Answers:
    """Answers with a mistake each; none of a class where no change is certain to change the value."""
    value = value_of(gold, rules)
    if mode is Extraction.last_number:
        sign = r"\%" if isinstance(value, Percentage) else ""
        inner = value.value if isinstance(value, Percentage | Quantity) else value
        made = (
            {k: [f"{n}{sign}" for n in found] for k, found in numbers(inner.value).items()}
            if isinstance(inner, Number)
            else {}
        )
    else:
        made = {kind: _texts(found) for kind, found in changed(value, rules).items()}
    if mode in (Extraction.last_number, Extraction.choice):
        universal = []
    else:
        universal = [text for text in UNIVERSAL if value != value_of(text, rules)]
    made["hedged"] = hedges(gold, [text for found in made.values() for text in found], mode)
    made["universal"] = universal
    kept = {kind: [text for text in dict.fromkeys(found) if text != gold] for kind, found in made.items()}
    return {kind: found for kind, found in kept.items() if found}
