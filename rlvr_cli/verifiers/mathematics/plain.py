"""A tree as a value."""

from __future__ import annotations

from rlvr_cli.verifiers.mathematics.exact import FEW_BITS, NotExact, fold
from rlvr_cli.verifiers.mathematics.nodes import Node, Num, Product
from rlvr_cli.verifiers.mathematics.values import Expression, Number


def plain_value(node: Node) -> Number | Expression:
    """A number where it is rational and small, else an expression."""
    places = 0
    match node:
        case Num(_, written) | Product((Num(_, 0), Num(_, written))):
            places = written
    try:
        return Number(fold(node, FEW_BITS), places)
    except NotExact:
        return Expression(node)
