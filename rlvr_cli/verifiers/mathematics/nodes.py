"""An expression as a small tree: what the reader builds, what is folded exactly and evaluated at points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Num:
    """A number as written: an integer or a decimal."""

    value: Fraction
    places: int = 0
    """Decimals written."""


@dataclass(frozen=True, slots=True)
class Sym:
    """A named symbol; case matters, a subscript is part of the name (`x_{1}`)."""

    name: str


@dataclass(frozen=True, slots=True)
class Const:
    """pi, e, i or infinity."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """A quotient is a product with a power of -1."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function: sqrt, root (degree, radicand), log (base, argument), ln, sin, abs, factorial, binom, ...

    Functions nobody knows are calls too (`f`); `pm` is one of `\\pm` and `\\mp`, before it is written out.
    """

    name: str
    arguments: tuple[Node, ...]


Node = Num | Sym | Const | Sum | Product | Power | Call


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Sum(parts) | Product(parts) | Call(_, parts):
            return parts
        case Power(base, exponent):
            return base, exponent
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, without recursion."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(children(here))


def symbols(node: Node) -> frozenset[str]:
    """Names of the symbols written in it, cancelled ones too."""
    return frozenset(here.name for here in walk(node) if isinstance(here, Sym))


def negative(node: Node) -> Node:
    if isinstance(node, Num):
        return Num(-node.value, node.places)
    return Product((Num(Fraction(-1)), node))


def inverse(node: Node) -> Node:
    return Power(node, Num(Fraction(-1)))


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The tree with `change` made at every node, those below a node first."""
    match node:
        case Sum(parts):
            node = Sum(tuple(rebuilt(part, change) for part in parts))
        case Product(parts):
            node = Product(tuple(rebuilt(part, change) for part in parts))
        case Power(base, exponent):
            node = Power(rebuilt(base, change), rebuilt(exponent, change))
        case Call(name, parts):
            node = Call(name, tuple(rebuilt(part, change) for part in parts))
    return change(node)


def lowered(node: Node) -> Node:
    """The tree with the letters of its symbols in lower case."""
    return rebuilt(node, lambda here: Sym(here.name.lower()) if isinstance(here, Sym) else here)


def decimal(node: Node) -> Node:
    """The tree with `\\log` without a base read as the logarithm to base 10."""

    def change(here: Node) -> Node:
        match here:
            case Call("log", (argument,)):
                return Call("lg", (argument,))
        return here

    return rebuilt(node, change)


def substituted(node: Node, name: str, value: Node) -> Node:
    """The tree with `value` in the place of a symbol (`e` and `i` may be bound symbols too)."""
    return rebuilt(node, lambda here: value if isinstance(here, Sym | Const) and here.name == name else here)
