r"""`\pm` and `\mp` written out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from rlvr_cli.verifiers.mathematics.nodes import Call, Node, Power, Product, Sum, negative, walk
from rlvr_cli.verifiers.mathematics.tokens import Unreadable

MAX_SIGNS = 4


def variants(tree: Node) -> list[Node]:
    r"""The values that an expression with `\pm` stands for. With a `\mp` the signs change together."""
    signs = [node.name for node in walk(tree) if isinstance(node, Call) and node.name in ("pm", "mp")]
    if not signs:
        return [tree]
    if len(signs) > MAX_SIGNS:
        raise Unreadable("too many double signs")
    if "mp" in signs:
        choices = [[upper if sign == "pm" else not upper for sign in signs] for upper in (True, False)]
    else:
        choices = [list(choice) for choice in product((True, False), repeat=len(signs))]
    return [_chosen(tree, iter(choice)) for choice in choices]


def _chosen(node: Node, choice: Iterator[bool]) -> Node:
    match node:
        case Call("pm" | "mp", (inner,)):
            plus = next(choice)
            chosen = _chosen(inner, choice)
            return chosen if plus else negative(chosen)
        case Sum(parts):
            return Sum(tuple(_chosen(part, choice) for part in parts))
        case Product(parts):
            return Product(tuple(_chosen(part, choice) for part in parts))
        case Call(name, parts):
            return Call(name, tuple(_chosen(part, choice) for part in parts))
        case Power(base, exponent):
            return Power(_chosen(base, choice), _chosen(exponent, choice))
    return node
