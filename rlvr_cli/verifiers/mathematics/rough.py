"""Expressions at two points, by floating-point arithmetic: enough to be certain that two of them differ.

Apart from points.py, which decides equality: what tests the verifier does not ask the verifier.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterable
from typing import Any

from rlvr_cli.verifiers.mathematics.nodes import Call, Const, Node, Num, Power, Product, Sum, Sym, symbols

_POINTS = (0.7390851, 1.3247179)
_CONSTANTS = {"pi": math.pi, "e": math.e, "i": 1j}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(cmath, name) for name in ("sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "exp")},
    **{"ln": cmath.log, "log": cmath.log, "lg": cmath.log10, "abs": abs},
    **{"arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan},
    **{
        "cot": lambda x: 1 / cmath.tan(x),
        "sec": lambda x: 1 / cmath.cos(x),
        "csc": lambda x: 1 / cmath.sin(x),
    },
    **{"root": lambda degree, x: x ** (1 / degree), "degrees": lambda x: x * math.pi / 180},
}
NEAR = 1e-6
MAX_SIZE = 1e15


def differ(one: Node, other: Node) -> bool:
    """Certainly different at a point. False where they agree or cannot be computed."""
    names = sorted(symbols(one) | symbols(other))
    for start in _POINTS:
        point = {name: start + 0.3183099 * i for i, name in enumerate(names)}
        first, second = _at(one, point), _at(other, point)
        if first is None or second is None:
            return False
        if abs(first - second) > NEAR * max(1.0, abs(first), abs(second)):
            return True
    return False


def _at(node: Node, point: dict[str, float]) -> complex | None:
    try:
        value = _value(node, point)
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if cmath.isfinite(value) and abs(value) < MAX_SIZE else None


def _value(node: Node, point: dict[str, float]) -> complex:
    match node:
        case Num(value, _):
            return complex(float(value))
        case Sym(name):
            return complex(point[name])
        case Const(name):
            return complex(_CONSTANTS[name])
        case Sum(terms):
            return sum((_value(term, point) for term in terms), 0j)
        case Product(factors):
            return math.prod((_value(factor, point) for factor in factors), start=1 + 0j)
        case Power(base, exponent):
            return complex(_value(base, point) ** _value(exponent, point))
        case Call(name, arguments):
            values = [_value(argument, point) for argument in arguments]
            if name == "log" and len(values) == 2:
                return cmath.log(values[1]) / cmath.log(values[0])
            return complex(_FUNCTIONS[name](*values))
    raise TypeError


def replaced(node: Node, old: Node, new: Node) -> Node:
    """The tree with `new` wherever `old` stands."""

    def each(parts: Iterable[Node]) -> tuple[Node, ...]:
        return tuple(replaced(part, old, new) for part in parts)

    if node == old:
        return new
    match node:
        case Sum(parts):
            return Sum(each(parts))
        case Product(parts):
            return Product(each(parts))
        case Power(base, exponent):
            return Power(replaced(base, old, new), replaced(exponent, old, new))
        case Call(name, parts):
            return Call(name, each(parts))
    return node
