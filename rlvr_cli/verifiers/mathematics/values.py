"""What an answer can be: one frozen type for each kind. The reader makes them, `equal` compares them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rlvr_cli.verifiers.mathematics.nodes import Node


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number, exactly: `5`, `0.50`, `\\frac12`, `1\\frac12`, `4.5e33`, `2^{10}`."""

    value: Fraction
    places: int = 0
    """Decimals written, where it is written as one decimal; else 0."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Anything with symbols, roots, constants or functions: `x^2+1`, `\\sqrt2`, `3+4i`, `2\\pi`."""

    tree: Node
    letters: str = ""
    """The letters, where nothing but letters is written (`ab`): it may have been meant as a word."""


@dataclass(frozen=True, slots=True)
class Percentage:
    """`50\\%`, `10\\text{ percent}`: the value is the 50."""

    value: Number | Expression


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit: `10\\text{ cm}`, `60 km/h`, `90^\\circ`, `\\$5`, `8个`."""

    value: Value
    unit: str
    """As written, without LaTeX: `cm`, `km/h`, `m/s^2`, `degree`, `$`, `apples`."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One capital letter: a choice, a point or a symbol. `(C)`, `\\text{C}`, `\\mathbf{C}`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word, a name or a sentence: `\\text{yes}`, `Evelyn`, `no solution`, `HTH`, `\\angle ABC`."""

    text: str
    """As written, without LaTeX, one space between words."""
    name: bool = False
    """It names points, outcomes or the like (`ABC`, `HTH`): its letter case matters."""


@dataclass(frozen=True, slots=True)
class Based:
    """A number written in a base: `1010_2`, `A3_{16}`."""

    digits: str
    """Upper case, without leading zeros."""
    base: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """`2:3`, `1:2:4`."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Time:
    """A time of day: `3:30`, `15:05`, `3:30 p.m.`."""

    hours: int
    minutes: int
    half: str = ""
    """am, pm or nothing."""


@dataclass(frozen=True, slots=True)
class Tuple:
    """Items in their order: `(1,2)`, `\\langle 1,2,3\\rangle`, `[1,2,3]`. Two may be an open interval."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Several answers (`1, 2`, `x=1 or x=2`, `\\pm 2`) or a set (`\\{1,2\\}`)."""

    items: tuple[Value, ...]
    braces: bool = False
    """Written as a set."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: Value
    high: Value
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals, sets and named sets joined by `\\cup`, less what follows `\\setminus`."""

    parts: tuple[Value, ...]
    minus: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Value, ...], ...]
    bars: bool = False
    """A determinant: `vmatrix`."""


@dataclass(frozen=True, slots=True)
class Cases:
    """Rows of `cases`: a system of equations, or a function defined piece by piece."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """`x = 5`, `f(x) = x^2`, `(a,b) = (1,2)`, `x \\in [0,1)`: a value and what it is the value of."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Relation:
    """Equations and inequalities, chains too: `2x = 4`, `0 \\le x < 1`."""

    sides: tuple[Value, ...]
    signs: tuple[str, ...]
    """Between the sides: = < > <= >= != ~ (approximately), | (divides) or a LaTeX name (`\\equiv`)."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """What the reader does not understand, as tidied LaTeX."""

    text: str


Value = (
    Number
    | Expression
    | Percentage
    | Quantity
    | Letter
    | Word
    | Based
    | Ratio
    | Time
    | Tuple
    | Listing
    | Interval
    | Union
    | Matrix
    | Cases
    | Named
    | Relation
    | Opaque
)
