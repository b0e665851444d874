"""Rules for two single values: numbers, quantities, letters, words, ratios, times."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from rlvr_cli.verifiers.mathematics import scalars as numeric
from rlvr_cli.verifiers.mathematics.comparison import Comparison
from rlvr_cli.verifiers.mathematics.nodes import Sym, lowered
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Units, Unknown
from rlvr_cli.verifiers.mathematics.units import factor
from rlvr_cli.verifiers.mathematics.values import (
    Based,
    Expression,
    Letter,
    Number,
    Quantity,
    Ratio,
    Time,
    Value,
    Word,
)


def scalars(to: Comparison, said: Number | Expression, meant: Number | Expression) -> bool:
    if to.rules.letter_case is LetterCase.none:
        said, meant = (lower(value) for value in (said, meant))
    return numeric.scalars(said, meant, to.deep)


def lower(value: Any) -> Any:
    return Expression(lowered(value.tree)) if isinstance(value, Expression) else value


def percentages(to: Comparison, said: Any, meant: Any) -> bool:
    return numeric.percentages(said, meant, to.deep)


def quantities(to: Comparison, said: Value, meant: Value) -> bool:
    """The numbers alone, or with their units: as the rules say."""
    mine, other = (value.unit if isinstance(value, Quantity) else "" for value in (said, meant))
    one, two = (value.value if isinstance(value, Quantity) else value for value in (said, meant))
    if to.rules.units is Units.ignore:
        return to.equal(one, two)
    if to.rules.units is Units.require and other and not mine:
        return False
    if not (mine and other) or mine == other:
        return to.equal(one, two)
    size = factor(mine, other)
    if size is None:
        return False
    if size == 1:
        return to.equal(one, two)
    return isinstance(one, Number) and isinstance(two, Number) and one.value * size == two.value


def letters(to: Comparison, said: Letter, meant: Letter) -> bool:
    if to.rules.letter_case is LetterCase.none:
        return said.letter.lower() == meant.letter.lower()
    return said.letter == meant.letter


def letter_symbol(to: Comparison, said: Letter | Expression, meant: Letter | Expression) -> bool:
    """`C` and the symbol C."""
    mine, other = (Sym(v.letter) if isinstance(v, Letter) else v.tree for v in (said, meant))
    if not isinstance(mine, Sym) or not isinstance(other, Sym):
        trees = (Expression(mine), Expression(other))
        return to.equal(*trees)
    if to.rules.letter_case is LetterCase.none:
        return mine.name.lower() == other.name.lower()
    return mine == other


def words(to: Comparison, said: Word, meant: Word) -> bool:
    one, other = (_unmarked(said.text, meant.text), _unmarked(meant.text, said.text))
    strict = to.rules.letter_case is LetterCase.all or meant.name
    if strict and to.rules.letter_case is not LetterCase.none:
        return one == other
    return one.casefold() == other.casefold()


def _unmarked(text: str, other: str) -> str:
    """The mark of an angle or a triangle counts where both have one."""
    return text[1:] if text[:1] in "∠△→↔⌒" and other[:1] not in "∠△→↔⌒" else text


def word_expression(to: Comparison, said: Word | Expression, meant: Word | Expression) -> bool:
    """Bare letters may have been meant as the word that the other one says."""
    word, tree = (said, meant) if isinstance(said, Word) else (meant, said)
    assert isinstance(word, Word) and isinstance(tree, Expression)
    return bool(tree.letters) and words(to, Word(word.text, word.name), Word(tree.letters, word.name))


def based(to: Comparison, said: Based, meant: Based) -> bool:
    return said == meant


def based_number(to: Comparison, said: Based | Number, meant: Based | Number) -> bool:
    """Where only one names its base, the digits decide."""
    digits = [v.digits if isinstance(v, Based) else str(v.value) for v in (said, meant)]
    return digits[0] == digits[1]


def ratios(to: Comparison, said: Ratio, meant: Ratio) -> bool:
    mine, other = said.parts, meant.parts
    if len(mine) == len(other) and all(isinstance(part, Number) for part in (*mine, *other)):
        a, b = ([part.value for part in parts if isinstance(part, Number)] for parts in (mine, other))
        if any(a) and any(b):
            return all(a[i] * b[j] == a[j] * b[i] for i in range(len(a)) for j in range(i))
    return to.each(mine, other)


def times(to: Comparison, said: Time, meant: Time) -> bool:
    same = (said.hours, said.minutes) == (meant.hours, meant.minutes)
    return same and (said.half == meant.half or not said.half or not meant.half)


def time_ratio(to: Comparison, said: Time | Ratio, meant: Time | Ratio) -> bool:
    return ratios(to, _as_ratio(said), _as_ratio(meant))


def _as_ratio(value: Time | Ratio) -> Ratio:
    if isinstance(value, Time):
        return Ratio((Number(Fraction(value.hours)), Number(Fraction(value.minutes))))
    return value


def opaque(to: Comparison, said: Value, meant: Value) -> bool:
    if said == meant:
        return True
    raise Unknown
