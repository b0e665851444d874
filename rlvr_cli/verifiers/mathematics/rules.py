"""What a verifier may choose about equality, and how far a comparison may go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Units(Enum):
    """What the unit behind a number means."""

    ignore = "ignore"
    """Nothing: numbers are compared alone."""
    if_given = "if_given"
    """Where both have a unit, they must be the same quantity: 1 km is 1000 m and not 1 m."""
    require = "require"
    """As if_given, and where the gold answer has a unit, the answer needs one too."""


class LetterCase(Enum):
    """Where `A` and `a` differ."""

    symbols = "symbols"
    """In symbols, names of points and choice letters; not in words."""
    all = "all"
    """In words too."""
    none = "none"
    """Nowhere."""


class Order(Enum):
    """The order of several answers."""

    any = "any"
    """Lists are equal in any order."""
    as_given = "as_given"
    """Lists must have the gold answer's order. Sets in braces have none."""


@dataclass(frozen=True, slots=True)
class Rules:
    units: Units = Units.ignore
    letter_case: LetterCase = LetterCase.symbols
    order: Order = Order.any


class Later(Exception):
    """Not decided by what is cheap: for a worker."""


class Unknown(Exception):
    """Not decided by these rules: for the algebra system."""
