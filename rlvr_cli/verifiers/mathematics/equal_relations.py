"""Rules for named values, equations and inequalities."""

from __future__ import annotations

from fractions import Fraction

from rlvr_cli.verifiers.mathematics import relations as related
from rlvr_cli.verifiers.mathematics.comparison import Comparison
from rlvr_cli.verifiers.mathematics.nodes import Const, Num, walk
from rlvr_cli.verifiers.mathematics.relations import node_of
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Unknown
from rlvr_cli.verifiers.mathematics.values import (
    Interval,
    Listing,
    Named,
    Relation,
    Tuple,
    Union,
    Value,
)


def named(to: Comparison, said: Named, meant: Named) -> bool:
    """Of two named values both must agree; an equation may be turned and multiplied."""
    if _same_name(to, said.name, meant.name):
        return to.equal(said.value, meant.value)
    first, second = related.equation(said), related.equation(meant)
    if first is None or second is None or "(" in said.name + meant.name:
        return False
    return to.equal(first, second)


def _same_name(to: Comparison, mine: str, other: str) -> bool:
    if to.rules.letter_case is LetterCase.none:
        mine, other = mine.lower(), other.lower()
    heads = [name.partition("(")[0] for name in (mine, other)]
    if mine == other:
        return True
    if "(" in mine and "(" in other:
        return False
    return (
        ("(" in mine or "(" in other) and "" not in heads and (heads[0] == heads[1] or "y" in (mine, other))
    )


def unnamed(to: Comparison, said: Value, meant: Value) -> bool:
    """`x = 5` is the 5 where the other gives no name."""
    one, other = (v.value if isinstance(v, Named) else v for v in (said, meant))
    return to.equal(one, other)


def named_relation(to: Comparison, said: Named | Relation, meant: Named | Relation) -> bool:
    """An equation; or `x \\in (1,2)`, where the parentheses cannot be a point, and `1<x<2`."""
    named, relation = (said, meant) if isinstance(said, Named) else (meant, said)
    if isinstance(named, Named) and isinstance(named.value, Interval | Tuple | Union):
        return related.variable_of(relation) == named.name and inequality(to, named.value, relation)
    pair = [related.equation(v) if isinstance(v, Named) else v for v in (said, meant)]
    return None not in pair and to.equal(pair[0], pair[1])  # type: ignore[arg-type]


def relations(to: Comparison, said: Relation, meant: Relation) -> bool:
    if said == meant:
        return True
    if len(said.signs) == len(meant.signs) and said.signs == meant.signs and "in" not in said.signs:
        try:
            if to.each(said.sides, meant.sides):
                return True
        except Unknown:
            pass
    return related.relations(said, meant, to.deep)


def inequality(to: Comparison, said: Value, meant: Value) -> bool:
    """An inequality in one symbol is the interval it describes."""
    pair = [_interval(value) for value in (said, meant)]
    return None not in pair and to.equal(pair[0], pair[1])  # type: ignore[arg-type]


def inequality_pair(to: Comparison, said: Relation, meant: Tuple) -> bool:
    """A gold `(1,2)` may be a point, which no inequality is; with an infinite end it is none."""
    infinite = any(Const("infinity") in walk(node_of(item) or Num(Fraction(0))) for item in meant.items)
    return infinite and inequality(to, said, meant)


def _interval(value: Value) -> Union | None:
    if isinstance(value, Union):
        return value
    if not isinstance(value, Relation | Listing):
        return Union((value,))
    found = related.intervals_of(value)
    return Union(tuple(found)) if found else None
