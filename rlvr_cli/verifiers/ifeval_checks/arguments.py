"""Kinds of arguments: each takes a value of a data set and returns what a check uses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Relation = Callable[[int, int], bool]
"""(found, wanted) -> whether the count is as asked"""

RELATIONS: dict[str, Relation] = {
    "less than": lambda found, wanted: found < wanted,
    "at least": lambda found, wanted: found >= wanted,
}


def count(value: Any) -> int:
    # Parquet turns a column of integers and nulls into floats.
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise ValueError("a whole number, not negative")
    return int(value)


def position(value: Any) -> int:
    try:
        found = count(value)
    except ValueError:
        found = 0
    if found < 1:
        raise ValueError("a whole number from 1")
    return found


def relation(value: Any) -> Relation:
    if not isinstance(value, str) or value not in RELATIONS:
        raise ValueError(" or ".join(f"'{name}'" for name in RELATIONS))
    return RELATIONS[value]


def phrase(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("text")
    return value.strip()


def letter(value: Any) -> str:
    if not isinstance(value, str) or len(value.strip()) != 1:
        raise ValueError("one letter")
    return value.strip().lower()


def pattern(value: Any) -> str:
    """A word, read as a regular expression as the reference does; as itself where it is none.

    It comes from the data set and is trusted: one that takes exponential time takes it.
    """
    return _usable(phrase(value), "{}")


def inner_pattern(value: Any) -> str:
    """The same for a part of a larger expression, where `(?i)` may not stand."""
    return _usable(phrase(value), r"\b{}\b")


def _usable(word: str, place: str) -> str:
    try:
        re.compile(place.format(word))
    except (re.error, OverflowError, RecursionError):
        return re.escape(word)
    return word


def patterns(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("a list of words")
    return [pattern(word) for word in value]


def inner_patterns(value: Any) -> list[str]:
    patterns(value)
    return [inner_pattern(word) for word in value]
