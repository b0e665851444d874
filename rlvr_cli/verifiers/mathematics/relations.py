"""Equations and inequalities: equal where one is the other times a number, side by side for chains."""

from __future__ import annotations

from rlvr_cli.verifiers.mathematics.grammar import parse
from rlvr_cli.verifiers.mathematics.nodes import Const, Node, Sum, Sym, negative, symbols
from rlvr_cli.verifiers.mathematics.points import proportional
from rlvr_cli.verifiers.mathematics.rules import Later
from rlvr_cli.verifiers.mathematics.scalars import tree
from rlvr_cli.verifiers.mathematics.tokens import Unreadable, tokens
from rlvr_cli.verifiers.mathematics.values import (
    Expression,
    Interval,
    Letter,
    Listing,
    Named,
    Number,
    Percentage,
    Quantity,
    Relation,
    Value,
)

_TURNED = {"=": "=", "!=": "!=", "~": "~", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_LESS = {"<": False, "<=": True}
MAX_LINKS = 6


def links(relation: Relation) -> list[tuple[Value, str, Value]] | None:
    """A chain as relations of two sides, none of them with > or >=; None for other signs."""
    found = []
    for left, sign, right in zip(relation.sides, relation.signs, relation.sides[1:], strict=False):
        if sign not in _TURNED:
            return None
        found.append((right, _TURNED[sign], left) if sign in (">", ">=") else (left, sign, right))
    return found[: MAX_LINKS + 1]


def relations(said: Relation, meant: Relation, deep: bool) -> bool:
    """Each link of one is a link of the other, times a number (positive, in an inequality)."""
    mine, other = links(said), links(meant)
    if mine is None or other is None or not len(mine) == len(other) <= MAX_LINKS:
        return False
    if not deep:
        raise Later
    left = list(other)
    for link in mine:
        same = next((one for one in left if _same_link(link, one)), None)
        if same is None:
            return False
        left.remove(same)
    return True


def _same_link(mine: tuple[Value, str, Value], other: tuple[Value, str, Value]) -> bool:
    if mine[1] != other[1]:
        return False
    one, two = difference(mine[0], mine[2]), difference(other[0], other[2])
    if one is None or two is None:
        return mine == other
    if symbols(one) != symbols(two) or not symbols(one):
        # Without a symbol it is true or false, and says nothing: 1=1 is no answer.
        return mine == other
    sign = proportional(one, two)
    return sign == 1 if mine[1] in _LESS else sign != 0


def node_of(value: Value) -> Node | None:
    match value:
        case Number() | Expression():
            return tree(value)
        case Letter(letter):
            return Sym(letter)
        case Quantity(inner, _) if not isinstance(inner, Percentage):
            return node_of(inner)
    return None


def difference(left: Value, right: Value) -> Node | None:
    first, second = node_of(left), node_of(right)
    return None if first is None or second is None else Sum((first, negative(second)))


def equation(named: Named) -> Relation | None:
    """`y = 2x+3` as an equation, where the value has symbols; `x = 2` is solved, and stays a value."""
    node = node_of(named.value)
    if node is None or not symbols(node):
        return None
    try:
        return Relation((Expression(parse(tokens(named.name))), named.value), ("=",))
    except Unreadable:
        return None


def as_interval(value: Value) -> Interval | None:
    """The interval that an inequality in one symbol describes: `1<x<2`, `x>3`."""
    chain = links(value) if isinstance(value, Relation) else None
    if not chain or any(sign not in _LESS for _, sign, _ in chain) or len(chain) > 2:
        return None
    infinite = Expression(Const("infinity"))
    if len(chain) == 2:
        (low, first, middle), (again, second, high) = chain if chain[0][2] == chain[1][0] else chain[::-1]
        if middle != again or not _variable(middle):
            return None
        return Interval(low, high, _LESS[first], _LESS[second])
    left, sign, right = chain[0]
    if _variable(left):
        return Interval(Expression(negative(infinite.tree)), right, False, _LESS[sign])
    return Interval(left, infinite, _LESS[sign], False) if _variable(right) else None


def variable_of(value: Value) -> str | None:
    """The symbol that stands alone on a side of an inequality."""
    alone = [side for side in value.sides if _variable(side)] if isinstance(value, Relation) else []
    match alone:
        case [Letter(name) | Expression(Sym(name))]:
            return name
    return None


def _variable(value: Value) -> bool:
    return isinstance(value, Letter) or (isinstance(value, Expression) and isinstance(value.tree, Sym))


def intervals_of(value: Value) -> list[Interval] | None:
    """Of an inequality, or of several joined by `or`."""
    parts = list(value.items) if isinstance(value, Listing) and not value.braces else [value]
    found = [as_interval(part) for part in parts]
    return [interval for interval in found if interval is not None] if all(found) else None
