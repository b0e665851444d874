r"""`\sum`, `\prod`, `\int` and `\lim` that an answer leaves to evaluate.

Short sums and products between whole numbers are written out. The others are unknown functions of their
bounds and of their body, which is looked at for two values of the bound symbol: equal part by part, or not.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from rlvr_cli.verifiers.mathematics.nodes import Call, Node, Num, Product, Sum, substituted, walk
from rlvr_cli.verifiers.mathematics.synonyms import names
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable

OPERATORS = names(r"\sum \prod \int \lim")
MAX_BODY = 500
"""Nodes."""
MAX_TERMS = 200
MAX_WRITTEN = 2000
"""Nodes of a sum written out."""
_VALUES = (Num(Fraction(7312, 10007)), Num(Fraction(4177, 1013)))


class Reading(Protocol):
    """What is needed of `grammar.Parser`."""

    @property
    def next(self) -> Token: ...
    def take(self, text: str = "") -> Token: ...
    def sum(self) -> Node: ...
    def product(self) -> Node: ...
    def argument(self) -> Node: ...
    def exponent(self) -> Node: ...


def operator(parser: Reading, name: str) -> Node:
    """The operator's bounds and body, `name` being taken already."""
    symbol, low, high = "", Num(Fraction(0)), Num(Fraction(0))
    bounds: list[Node] = [low, high]
    while parser.next.text in ("_", "^"):
        if parser.take().text == "^":
            bounds[1] = parser.exponent()
        elif name == r"\int":
            bounds[0] = parser.argument()
        else:
            symbol, bounds[0] = _bound(parser, r"\to" if name == r"\lim" else "=")
    if not symbol and name != r"\int":
        raise Unreadable(f"{name} without a bound symbol")
    body = parser.sum() if name == r"\int" else parser.product()
    if sum(1 for _ in walk(body)) > MAX_BODY:  # sums within sums double with each level
        raise Unreadable("a body that is too long")
    if not symbol:
        return Call(name, (*bounds, body))
    written = _written_out(name, symbol, bounds, body)
    if written is not None:
        return written
    return Call(name, (*bounds, *(substituted(body, symbol, value) for value in _VALUES)))


def _bound(parser: Reading, sign: str) -> tuple[str, Node]:
    """`k=1` or `x \\to 0`, in braces."""
    parser.take("{")
    symbol = parser.take()
    if symbol.kind != "letter":
        raise Unreadable("a bound symbol is one letter")
    parser.take(sign)
    low = parser.sum()
    parser.take("}")
    return symbol.text, low


def _written_out(name: str, symbol: str, bounds: list[Node], body: Node) -> Node | None:
    low, high = bounds
    if name == r"\lim" or not (isinstance(low, Num) and isinstance(high, Num)):
        return None
    if low.value.denominator != 1 or high.value.denominator != 1:
        return None
    terms = range(int(low.value), int(high.value) + 1)
    if not 0 < len(terms) <= MAX_TERMS or len(terms) * sum(1 for _ in walk(body)) > MAX_WRITTEN:
        return None
    parts = tuple(substituted(body, symbol, Num(Fraction(term))) for term in terms)
    return Sum(parts) if name == r"\sum" else Product(parts)
