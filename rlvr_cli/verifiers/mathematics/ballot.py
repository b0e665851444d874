"""A key for an answer: equal keys for answers that say the same at first sight."""

from __future__ import annotations

from collections.abc import Hashable

from rlvr_cli.verifiers.mathematics.reader import read
from rlvr_cli.verifiers.mathematics.values import (
    Letter,
    Listing,
    Named,
    Number,
    Percentage,
    Quantity,
    Tuple,
    Value,
    Word,
)


def ballot(written: str) -> Hashable:
    """Numbers by value, words without case, units and names left out, lists in any order; else as read."""
    return _key(read(written))


def _key(value: Value) -> Hashable:
    match value:
        case Quantity(inner, _) | Named(_, inner):
            return _key(inner)
        case Number(number, _):
            return "number", number
        case Percentage(inner):
            return "percent", _key(inner)
        case Word(text, name):
            return "word", text if name else text.casefold()
        case Letter(letter):
            return "letter", letter
        case Tuple(items):
            return "tuple", tuple(map(_key, items))
        case Listing(items, _):
            return "list", tuple(sorted(map(repr, map(_key, items))))
    return "text", repr(value)
