"""Whole numbers as the shell computes them: `$(( 1024 * 20 ))`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

MOST = 2**63

BINARY: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),  # towards 0
    ast.Mod: lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1),
}


def evaluate(text: str, value_of: Callable[[str], int | None]) -> int | None:
    """The value; None where a name has none, or it is more than numbers, + - * / % ** and brackets."""
    try:
        result = _value(ast.parse(text.strip(), mode="eval").body, value_of)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return result if abs(result) < MOST else None


def _value(node: ast.expr, value_of: Callable[[str], int | None]) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            if (found := value_of(name)) is None:
                raise ValueError(name)
            return found
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, value_of)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, value_of)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, exponent = _value(left, value_of), _value(right, value_of)
            if not 0 <= exponent < 64:
                raise ValueError(text_of(node))
            return int(base**exponent)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return BINARY[type(op)](_value(left, value_of), _value(right, value_of))
    raise ValueError(text_of(node))


def text_of(node: ast.expr) -> str:
    return ast.unparse(node)
