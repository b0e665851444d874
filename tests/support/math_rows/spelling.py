"""A value and the ways to write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from random import Random


@dataclass
class Case:
    golds: list[str]
    """How a data set may write it."""
    same: list[str]
    """How a response may write it."""
    wrong: dict[str, list[str]]
    """Class of mistake -> answers with it."""
    prose: bool = False
    """Words: not put between dollars."""
    options: dict[str, str] = field(default_factory=dict)


def signed(rng: Random, low: int, high: int) -> int:
    return rng.choice((-1, 1)) * rng.randint(low, high)


def grouped(number: int, comma: str) -> str:
    return f"{number:,}".replace(",", comma)


def swapped(text: str) -> str | None:
    """Two neighbouring digits that differ, the other way round; not at the front, where a 0 may come."""
    for i in range(len(text) - 1, 1, -1):
        if text[i].isdigit() and text[i - 1].isdigit() and text[i] != text[i - 1]:
            return text[: i - 1] + text[i] + text[i - 1] + text[i + 1 :]
    return None


def fraction(rng: Random) -> Fraction:
    """No integer."""
    while True:
        made = Fraction(signed(rng, 1, 40), rng.randint(2, 30))
        if made.denominator > 1:
            return made


def as_fraction(value: Fraction, rng: Random) -> str:
    """In one of the usual ways."""
    if value.denominator == 1:
        return str(value.numerator)
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    forms = [
        f"{sign}\\frac{{{top}}}{{{bottom}}}",
        f"{sign}\\dfrac{{{top}}}{{{bottom}}}",
        f"{sign}{top}/{bottom}",
    ]
    if top < 10 and bottom < 10:
        forms.append(f"{sign}\\frac{top}{bottom}")
    return rng.choice(forms)


def terms(parts: list[str], rng: Random, space: str = "") -> str:
    """A sum of signed parts such as `-3x`, in any order."""
    parts = rng.sample(parts, len(parts))
    text = parts[0]
    for part in parts[1:]:
        text += f"{space}-{space}{part[1:]}" if part.startswith("-") else f"{space}+{space}{part}"
    return text


def monomial(coefficient: int, letters: str) -> str:
    if not letters:
        return str(coefficient)
    return {1: "", -1: "-"}.get(coefficient, str(coefficient)) + letters
