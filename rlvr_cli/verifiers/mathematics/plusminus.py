r"""`\pm` and `\mp` written out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from rlvr_cli.verifiers.mathematics.nodes import Call, Node, negative, rebuilt, walk
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
        return [_chosen(tree, lambda name, upper=upper: upper == (name == "pm")) for upper in (True, False)]  # type: ignore[misc]
    choices = (iter(choice) for choice in product((True, False), repeat=len(signs)))
    return [_chosen(tree, lambda name, choice=choice: next(choice)) for choice in choices]  # type: ignore[misc]


def _chosen(tree: Node, plus: Callable[[str], bool]) -> Node:
    def change(node: Node) -> Node:
        match node:
            case Call("pm" | "mp" as name, (inner,)):
                return inner if plus(name) else negative(inner)
        return node

    return rebuilt(tree, change)
