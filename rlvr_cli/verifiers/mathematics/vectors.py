"""Vectors written with unit vectors: `2\\hat i + 3\\hat j`."""

from __future__ import annotations

from fractions import Fraction

from rlvr_cli.verifiers.mathematics.nodes import Node, Num, Product, Sum, Sym, walk
from rlvr_cli.verifiers.mathematics.plain import plain_value
from rlvr_cli.verifiers.mathematics.values import Value

_UNIT_VECTORS = (r"\hati", r"\hatj", r"\hatk")


def components(tree: Node) -> list[Value]:
    """The three coordinates; empty where the tree is not a sum of multiples of unit vectors."""
    found: list[list[Node]] = [[], [], []]
    for term in tree.terms if isinstance(tree, Sum) else (tree,):
        factors = list(_flat(term))
        units = [
            i for i, factor in enumerate(factors) if isinstance(factor, Sym) and factor.name in _UNIT_VECTORS
        ]
        if len(units) != 1:
            return []
        direction = _UNIT_VECTORS.index(factors.pop(units[0]).name)  # type: ignore[union-attr]
        if any(
            isinstance(here, Sym) and here.name in _UNIT_VECTORS
            for factor in factors
            for here in walk(factor)
        ):
            return []
        found[direction].append(Product(tuple(factors)) if factors else Num(Fraction(1)))
    return [plain_value(Sum(tuple(terms)) if terms else Num(Fraction(0))) for terms in found]


def _flat(node: Node) -> tuple[Node, ...]:
    return (
        tuple(inner for factor in node.factors for inner in _flat(factor))
        if isinstance(node, Product)
        else (node,)
    )
