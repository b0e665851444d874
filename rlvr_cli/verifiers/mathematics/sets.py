"""Sets of real numbers: unions of intervals and of single numbers, less some of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rlvr_cli.verifiers.mathematics.evaluation import DIGITS, SPARE, context
from rlvr_cli.verifiers.mathematics.points import number_of
from rlvr_cli.verifiers.mathematics.relations import node_of
from rlvr_cli.verifiers.mathematics.values import Interval, Listing, Tuple, Union, Value, Word

MAX_ENDS = 40


class NoReals(Exception):
    """Not a set of real numbers whose ends can be computed."""


Piece = tuple[Any, Any, bool, bool]
"""Low end, high end, and whether each belongs to it."""


def _end(value: Value) -> Any:
    node = node_of(value)
    found = None if node is None else number_of(node)
    if found is None:
        raise NoReals
    return found


def pieces(parts: Sequence[Value]) -> list[Piece]:
    infinity = context().inf
    made: list[Piece] = []
    for part in parts:
        match part:
            case Interval(low, high, low_closed, high_closed):
                made.append((_end(low), _end(high), low_closed, high_closed))
            case Tuple((low, high)):
                made.append((_end(low), _end(high), False, False))
            case Listing(items, True):
                made += [(_end(item), _end(item), True, True) for item in items]
            case Word("R", True):
                made.append((-infinity, infinity, False, False))
            case Union(parts, ()):
                made += pieces(parts)
            case _:
                raise NoReals
    if any((low == -infinity and a) or (high == infinity and b) for low, high, a, b in made):
        raise NoReals  # [-\infty, 2) is no interval
    if len(made) > MAX_ENDS:
        raise NoReals
    return made


def _holds(made: list[Piece], at: Any) -> bool:
    return any(
        low < at < high or (at == low and low_closed) or (at == high and high_closed)
        for low, high, low_closed, high_closed in made
    )


def _near(ends: list[Any]) -> list[Any]:
    """The ends in order, the same number once: two spellings of it differ in their last digits."""
    mp, found = context(), list[Any]()
    for end in sorted(ends):
        same = found and (
            end == found[-1] or abs(end - found[-1]) < mp.mpf(10) ** (SPARE - DIGITS) * max(1, abs(end))
        )
        if not same:
            found.append(end)
    return found


def same_set(said: Union, meant: Union) -> bool:
    """The same real numbers belong to both: asked at every end and between two. Unreadable ends: NoReals."""
    groups = [pieces(said.parts), pieces(said.minus), pieces(meant.parts), pieces(meant.minus)]
    ends = _near([end for group in groups for piece in group for end in piece[:2]])
    groups = [[(_snap(low, ends), _snap(high, ends), a, b) for low, high, a, b in group] for group in groups]
    finite = [end for end in ends if abs(end) != float("inf")]
    asked = [*finite, *((low + high) / 2 for low, high in pairwise(finite))]
    asked += [finite[0] - 1, finite[-1] + 1] if finite else [0]
    return all(
        (_holds(groups[0], at) and not _holds(groups[1], at))
        == (_holds(groups[2], at) and not _holds(groups[3], at))
        for at in asked
    )


def _snap(end: Any, ends: list[Any]) -> Any:
    return min(ends, key=lambda other: abs(other - end) if other != end else 0)
