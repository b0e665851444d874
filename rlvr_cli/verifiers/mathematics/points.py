"""Values of trees at points, to as many digits as it takes: how two expressions are found equal or different.

Points are fixed by the names of the symbols, so that a verdict is the same wherever it is asked for. Half of
them are positive; at the others, what is real on both sides must agree there too.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from rlvr_cli.verifiers.mathematics.evaluation import (
    DIGITS,
    MOST_DIGITS,
    SPARE,
    Evaluation,
    Precision,
    Undefined,
    context,
)
from rlvr_cli.verifiers.mathematics.exact import too_large
from rlvr_cli.verifiers.mathematics.nodes import Call, Const, Node, Num, symbols, walk
from rlvr_cli.verifiers.rejected import Rejected

POINTS = 8
MORE_SIGNS = 4
"""Points with signs by chance, where there are more symbols than two."""
MAX_NODES = 3000
FARTHEST = Fraction(10**9)
"""Numbers beyond which no point is taken."""


def _points(names: Iterable[str], beyond: Fraction) -> list[dict[str, Any]]:
    """Rational points, the first half positive; without symbols there is one.

    Small ones, where arcsin is real, and some on the other side of every number that is written (`beyond`):
    |x-11| is 11-x below 11 only.
    """
    ordered, mp = sorted(names), context()
    if not ordered:
        return [{}]
    made = []
    for n in range(POINTS + (MORE_SIGNS if len(ordered) > 2 else 0)):
        generator = random.Random(f"{n} {ordered}")
        signs = [1 if n < POINTS // 2 else generator.choice((-1, 1)) for _ in ordered]
        if n in (4, 6):
            signs = [-1] * len(ordered)
        elif n in (5, 7):  # |u+w| is |u|+|w| unless their signs differ
            signs = [(-1) ** (i + n // 2) for i in range(len(ordered))]
        # Binary fractions, exact at any precision.
        size = mp.mpf((1, 0.25, 8, max(4, int(beyond)))[n % 4]) / 4096  # never a float: those round
        made.append(
            {
                name: sign * generator.randrange(5000, 15000) * size
                for name, sign in zip(ordered, signs, strict=True)
            }
        )
    return made


def _beyond(first: Node, second: Node) -> Fraction:
    numbers = [abs(here.value) for tree in (first, second) for here in walk(tree) if isinstance(here, Num)]
    return min(FARTHEST, max(numbers, default=Fraction(0)))


class Sample(NamedTuple):
    """Two values at one point."""

    first: Any
    second: Any
    real: bool
    """No complex number on the way to either."""
    close: bool
    """They agree as far as the digits reach."""


def samples(first: Node, second: Node) -> Iterator[Sample]:
    """Both trees at every point where both have a value. Rejected: too large to compute."""
    _sized(first)
    _sized(second)
    too_far: Rejected | None = None
    found = 0
    for point in _points(symbols(first) | symbols(second), _beyond(first, second)):
        try:
            yield _sample(first, second, point)
            found += 1
        except (Undefined, ZeroDivisionError, OverflowError, ValueError):
            continue
        except Rejected as rejected:  # x^x far out
            too_far = rejected
    if too_far is not None and found < POINTS // 4:
        raise too_far


def _sized(tree: Node) -> None:
    if sum(1 for _ in walk(tree)) > MAX_NODES:
        raise too_large("an expression")


def _sample(first: Node, second: Node, point: dict[str, Any]) -> Sample:
    digits = DIGITS
    while True:
        one, other = Evaluation(digits, point), Evaluation(digits, point)
        try:
            a, b = one.at(first), other.at(second)
        except Precision as needed:
            digits = needed.digits
            continue
        mp = one.mp
        if mp.isinf(a) or mp.isinf(b):
            return Sample(a, b, one.real and other.real, bool(a == b))
        size = max(abs(a), abs(b))
        tolerance = max(size, one.scale, other.scale) * mp.mpf(10) ** (SPARE - digits)
        close = abs(a - b) <= tolerance
        # What is left of large terms may be too little to tell from nothing.
        if close and a != b and tolerance > size * mp.mpf(10) ** -20 and digits < MOST_DIGITS:
            digits = min(MOST_DIGITS, 4 * digits)
            continue
        return Sample(a, b, one.real and other.real, bool(close))


def number_of(tree: Node) -> Any:
    """The real value of a tree without symbols, as an mpf of DIGITS digits; None where there is none."""
    for sample in samples(tree, tree):
        return None if isinstance(sample.first, context().mpc) or symbols(tree) else sample.first
    return None


def rounds_to(decimal: Fraction, places: int, tree: Node) -> bool:
    """`decimal` is the irrational value of `tree`, rounded or cut off at `places` decimals."""
    value = number_of(tree)
    mp = context()
    if value is None or mp.isinf(value) or mp.mag(value) + 4 * places > 3 * DIGITS:
        return False
    scaled = value * 10**places
    return decimal * 10**places in (Fraction(int(mp.nint(scaled))), Fraction(int(scaled)))


def agree(first: Node, second: Node) -> bool | None:
    """Whether two trees are one function of their symbols; None where they have no values to compare."""
    imaginary = any(here == Const("i") for tree in (first, second) for here in walk(tree))
    signed = _has_absolute(first) != _has_absolute(second)
    same = otherwise = 0
    for sample in samples(first, second):
        if sample.close:
            same += 1
        elif imaginary or signed or sample.real:
            return False
        else:  # roots and logarithms of negative numbers: which branch is meant is not said
            otherwise += 1
    if not same + otherwise:
        return None
    return same > otherwise or (same >= POINTS // 4 and otherwise <= POINTS // 2)


def _has_absolute(tree: Node) -> bool:
    return any(isinstance(here, Call) and here.name in ("abs", "sgn") for here in walk(tree))


def proportional(first: Node, second: Node) -> int:
    """1 or -1 where `first` is that sign times a positive constant times `second` at every point; else 0."""
    ratio, seen = None, 0
    for sample in samples(first, second):
        if sample.first == 0 or sample.second == 0 or not sample.real:
            if sample.real and not (sample.first == 0 and sample.second == 0):
                return 0
            continue
        here = sample.first / sample.second
        if ratio is None:
            ratio = here
        elif abs(here - ratio) > abs(ratio) * context().mpf(10) ** -25:
            return 0
        seen += 1
    return 0 if ratio is None or seen < 2 else (1 if ratio > 0 else -1)
