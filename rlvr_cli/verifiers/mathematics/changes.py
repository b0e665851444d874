"""Values like a given one and not equal to it, by class of mistake.

Made from the typed value and not from its spelling, and only where the change is certain to change the value:
rational numbers are compared as fractions, expressions at two points by floating-point arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from rlvr_cli.verifiers.mathematics import changes_alone as alone
from rlvr_cli.verifiers.mathematics.changes_alone import Changes
from rlvr_cli.verifiers.mathematics.nodes import Const, Num, Sum, walk
from rlvr_cli.verifiers.mathematics.rough import differ
from rlvr_cli.verifiers.mathematics.rules import Order, Rules, Units
from rlvr_cli.verifiers.mathematics.values import (
    Based,
    Expression,
    Interval,
    Letter,
    Listing,
    Matrix,
    Named,
    Number,
    Percentage,
    Quantity,
    Ratio,
    Relation,
    Time,
    Tuple,
    Union,
    Value,
    Word,
)

EXTRA = Number(Fraction(9973))
"""An element that no list has."""
OTHER_UNITS = ("kg", "m")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_STRICT = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}


def changed(value: Value, rules: Rules) -> Changes:
    """No class where no change is certain."""
    make = _RULES.get(type(value))
    made = make(value, rules) if make else {}
    return {kind: values for kind, values in made.items() if values}


def _quantity(value: Quantity, rules: Rules) -> Changes:
    made: Changes = {
        kind: [Quantity(v, value.unit) for v in found] for kind, found in changed(value.value, rules).items()
    }
    if rules.units is not Units.ignore:
        made["unit"] = other_unit(value)
        made["unit missing"] = [value.value] if rules.units is Units.require else []
    return made


def other_unit(value: Quantity) -> list[Value]:
    """The same number of something else; angles are mostly written without a unit, which is no mistake."""
    if value.unit.startswith(("deg", "rad")):
        return []
    return [Quantity(value.value, next(unit for unit in OTHER_UNITS if unit != value.unit))]


def _ratio(value: Ratio, rules: Rules) -> Changes:
    first, second, *rest = value.parts
    made: Changes = {"entry": [Ratio(tuple(parts)) for parts in _entries(value.parts, rules)[:1]]}
    if _unlike(first, second):
        made["swapped"] = [Ratio((second, first, *rest))]
    return made


def _tuple(value: Tuple, rules: Rules) -> Changes:
    made = _sequence(value.items, rules, Tuple)
    first, second, *rest = value.items
    made["swapped"] = [Tuple((second, first, *rest))] if _unlike(first, second) else []
    return made


def _listing(value: Listing, rules: Rules) -> Changes:
    if not value.items:
        return {"not empty": [Listing((Number(Fraction(0)),), braces=True)]}
    made = _sequence(value.items, rules, lambda items: Listing(items, value.braces))
    made["one missing"] = made.pop("entry dropped", [])
    free = rules.order is Order.any or value.braces
    if not free and len(value.items) > 1 and _unlike(*value.items[:2]):
        made["swapped"] = [Listing(value.items[::-1])]
    return made


def _sequence(items: tuple[Value, ...], rules: Rules, make: Callable[[tuple[Value, ...]], Value]) -> Changes:
    made: Changes = {"entry": [make(tuple(other)) for other in _entries(items, rules)]}
    made["entry added"] = [make((*items, EXTRA))]
    if len(items) > 1 and all(_unlike(one, other) for i, one in enumerate(items) for other in items[:i]):
        made["entry dropped"] = [make(items[1:])] if len(items) > 2 else [items[0]]
    return made


def _entries(items: tuple[Value, ...], rules: Rules) -> list[list[Value]]:
    """The items with one changed: the first that can be, moved away and with another sign."""
    for i, item in enumerate(items):
        inner = changed(item, rules)
        other = [inner[kind][0] for kind in ("power of ten", "one off", "letter", "entry") if kind in inner]
        if other:
            other += inner.get("sign", [])
            made = [[*items[:i], one, *items[i + 1 :]] for one in other]
            return [one for one in made if all(_unlike(one[i], kept) for kept in items)]
    return []


def _unlike(one: Value, other: Value) -> bool:
    """Certainly not equal."""
    match one, other:
        case Number(a), Number(b):
            return a != b
        case ((Number() | Expression()), (Number() | Expression())):
            if any(isinstance(v, Expression) and Const("infinity") in walk(v.tree) for v in (one, other)):
                return one != other
            first, second = (Num(v.value) if isinstance(v, Number) else v.tree for v in (one, other))
            return differ(first, second)
        case ((Letter() | Word()), (Letter() | Word())):
            return str(one).lower() != str(other).lower()
        case Named(name, inner), Named(another, value) if name == another:
            return _unlike(inner, value)
    return False


def _interval(value: Interval, rules: Rules) -> Changes:
    finite = [isinstance(end, Number) for end in (value.low, value.high)]
    made: Changes = {
        "end": [
            *([replace(value, low_closed=not value.low_closed)] if finite[0] else []),
            *([replace(value, high_closed=not value.high_closed)] if finite[1] else []),
        ]
    }
    if isinstance(value.low, Number):
        made["entry"] = [replace(value, low=Number(value.low.value - 1))]
    elif isinstance(value.high, Number):
        made["entry"] = [replace(value, high=Number(value.high.value + 1))]
    if all(finite) and value.low != value.high:
        made["swapped"] = [replace(value, low=value.high, high=value.low)]
    return made


def _union(value: Union, rules: Rules) -> Changes:
    """Only unions of intervals that share no end: of others a part may be covered."""
    if value == Union((Word("R", name=True),)):
        zero = Number(Fraction(0))
        positive = Interval(zero, Expression(Const("infinity")), False, False)
        return {"part missing": [positive, Union(value.parts, (Listing((zero,), braces=True),))]}
    parts = [_open(part) for part in value.parts]
    if value.minus or len(parts) < 2 or not all(isinstance(part, Interval) for part in parts):
        return {}
    ends = [end for part in parts if isinstance(part, Interval) for end in (part.low, part.high)]
    if not all(_unlike(one, other) for i, one in enumerate(ends) for other in ends[:i]):
        return {}
    made: Changes = {"part missing": [Union(tuple(parts[1:])) if len(parts) > 2 else parts[1]]}
    inner = changed(parts[0], rules)
    return made | {"end": [Union((one, *parts[1:])) for one in inner.get("end", [])]}


def _open(value: Value) -> Value:
    """`(0,1)` as the interval that it is in a union."""
    match value:
        case Tuple((low, high)):
            return Interval(low, high, False, False)
    return value


def _matrix(value: Matrix, rules: Rules) -> Changes:
    rows, made = value.rows, Changes()
    made["entry"] = [replace(value, rows=(tuple(other), *rows[1:])) for other in _entries(rows[0], rules)]
    if len(rows) > 1:
        if any(map(_unlike, rows[0], rows[1])):
            made["rows swapped"] = [replace(value, rows=(rows[1], rows[0], *rows[2:]))]
        made["row dropped"] = [replace(value, rows=rows[:-1])] if len(rows) > 2 else []
    if len(rows[0]) > 1 and any(_unlike(row[0], row[1]) for row in rows if len(row) > 1):
        made["columns swapped"] = [replace(value, rows=tuple((row[1], row[0], *row[2:]) for row in rows))]
    if len(rows) == len(rows[0]) > 1 and _unlike(rows[0][1], rows[1][0]):
        made["transposed"] = [replace(value, rows=tuple(zip(*rows, strict=True)))]
    return made


def _named(value: Named, rules: Rules) -> Changes:
    return {
        kind: [Named(value.name, v) for v in found] for kind, found in changed(value.value, rules).items()
    }


def _relation(value: Relation, rules: Rules) -> Changes:
    """Of an equation, a chain of inequalities or a congruence: signs turned, ends in or out, sides moved."""
    signs = value.signs
    match signs, value.sides:
        case ("\\equiv", "mod"), (left, Number(rest), Number(modulus)) if modulus > 1:
            moved = [(left, Number(rest + 1), Number(modulus)), (left, Number(rest), Number(modulus + 1))]
            return {"entry": [replace(value, sides=sides) for sides in moved]}
    if signs != ("=",) and not all(sign in _FLIPPED for sign in signs):
        return {}
    made: Changes = {}
    if signs != ("=",):
        ends = [(*signs[:i], _STRICT[sign], *signs[i + 1 :]) for i, sign in enumerate(signs)]
        made["end"] = [replace(value, signs=other) for other in ends]
        made["flipped"] = [replace(value, signs=(_FLIPPED[signs[0]],))] if len(signs) == 1 else []
    match value.sides[-1]:
        case Number(number):
            last: Value = Number(number + 1)
        case Expression(tree):
            last = Expression(Sum((tree, Num(Fraction(1)))))
        case _:
            return made
    return made | {"entry": [replace(value, sides=(*value.sides[:-1], last))]}


def _percentage(value: Percentage, rules: Rules) -> Changes:
    found: dict[str, list[Any]] = dict(changed(value.value, rules))
    return {kind: [Percentage(v) for v in values] for kind, values in found.items() if kind != "letter added"}


_RULES: dict[type, Callable[[Any, Rules], Changes]] = {
    Number: alone.number,
    Expression: alone.expression,
    Percentage: _percentage,
    Quantity: _quantity,
    Letter: alone.letter,
    Word: alone.word,
    Based: alone.based,
    Ratio: _ratio,
    Time: alone.time,
    Tuple: _tuple,
    Listing: _listing,
    Interval: _interval,
    Union: _union,
    Matrix: _matrix,
    Named: _named,
    Relation: _relation,
}
