"""An expression as a small tree: what the reader builds, what is folded exactly and evaluated at points."""

from __future__ import annotations

from collections.abc import Iterator
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


def lowered(node: Node) -> Node:
    """The tree with the letters of its symbols in lower case."""
    match node:
        case Sym(name):
            return Sym(name.lower())
        case Sum(parts):
            return Sum(tuple(map(lowered, parts)))
        case Product(parts):
            return Product(tuple(map(lowered, parts)))
        case Power(base, exponent):
            return Power(lowered(base), lowered(exponent))
        case Call(name, parts):
            return Call(name, tuple(map(lowered, parts)))
    return node


def decimal(node: Node) -> Node:
    """The tree with `\\log` without a base read as the logarithm to base 10."""
    match node:
        case Sum(parts):
            return Sum(tuple(map(decimal, parts)))
        case Product(parts):
            return Product(tuple(map(decimal, parts)))
        case Power(base, exponent):
            return Power(decimal(base), decimal(exponent))
        case Call(name, parts):
            return Call("lg" if name == "log" and len(parts) == 1 else name, tuple(map(decimal, parts)))
    return node


def substituted(node: Node, name: str, value: Node) -> Node:
    """The tree with `value` in the place of a symbol (`e` and `i` may be bound symbols too)."""
    match node:
        case Sym(here) | Const(here) if here == name:
            return value
        case Sum(parts):
            return Sum(tuple(substituted(part, name, value) for part in parts))
        case Product(parts):
            return Product(tuple(substituted(part, name, value) for part in parts))
        case Power(base, exponent):
            return Power(substituted(base, name, value), substituted(exponent, name, value))
        case Call(called, parts):
            return Call(called, tuple(substituted(part, name, value) for part in parts))
    return node
