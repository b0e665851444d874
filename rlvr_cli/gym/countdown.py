"""Countdown, after TinyZero (95df88f): reach a target with given numbers, each used once.

Data (data/synthetic.py), the verifier and the environment read equations alike. TinyZero runs them by `eval`;
here they are read with Python's grammar, node by node, and what that would compute is computed.
"""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from random import Random
from typing import Any

MOST_CHARS = 1000
MOST_BITS = 4096
"""Of a power: `9**9**9` would not end."""
NEAR = 1e-5
MOST_SOLVED = 4
"""Numbers of a puzzle that `solution` searches through."""
CHARACTERS = re.compile(r"[\d+\-*/().\s]+")
ALLOWED = "numbers, + - * / and brackets"
TIMES = {1: "once", 2: "twice"}


class Unreadable(ValueError):
    """The text is no equation; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Puzzle:
    nums: tuple[int, ...]
    target: int


def puzzle(answer: str, row: Mapping[str, Any]) -> Puzzle | None:
    """A row's `nums` and `target`, or `nums` and the answer; without `nums` the answer is an equation that
    solves it. None where there is nothing of the kind."""
    try:
        if row.get("nums") is not None:
            target = row["target"] if row.get("target") is not None else answer
            return Puzzle(nums=tuple(int(n) for n in row["nums"]), target=int(target))
        value = value_of(answer)
        return Puzzle(nums=tuple(integers(answer)), target=int(value)) if value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def integers(text: str) -> list[int]:
    """All whole numbers in a text, in order; `2.5` has two."""
    return [int(digits) for digits in re.findall(r"\d+", text)]


def fault_of(text: str, wanted: Puzzle, *, strict: bool = False) -> str | None:
    """What is wrong with an equation, as one part of a sentence; None: it is right.

    `strict`: only + - * / between the numbers themselves. Else also what Python makes of these characters:
    `**`, `//`, and decimal points, so that `2.5*4` uses 2, 5 and 4.
    """
    if len(text) > MOST_CHARS:
        return "that is too long"
    if (said := _misused(Counter(integers(text)), Counter(wanted.nums))) is not None:
        return said
    try:
        value = value_of(text, strict=strict)
    except Unreadable as unreadable:
        return str(unreadable)
    if abs(value - wanted.target) < NEAR:
        return None
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"that is {shown[:30]} and not {wanted.target}"


def _misused(used: Counter[int], given: Counter[int]) -> str | None:
    said = []
    for number in sorted(used | given):
        shown = str(number) if number < 10**9 else "a number that large"
        if not given[number]:
            said.append(f"{shown} is not one of the numbers")
        elif not used[number]:
            said.append(f"{shown} is not used")
        elif used[number] != given[number]:
            said.append(f"{shown} is used {_times(used[number])} and given {_times(given[number])}")
    return "; ".join(said[:3]) or None


def _times(count: int) -> str:
    return TIMES.get(count, f"{count} times")


def value_of(text: str, *, strict: bool = False) -> Any:
    """What the equation comes to: int, float or, of roots, complex. Unreadable where it comes to nothing."""
    if not CHARACTERS.fullmatch(text):
        raise Unreadable(f"that is more than {ALLOWED}")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, strict)
    except ZeroDivisionError:
        raise Unreadable("that divides by zero") from None
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable("that is no equation") from None


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and abs(exponent) * base.bit_length() > MOST_BITS:
        raise Unreadable("that power is too large")
    return base**exponent


PLAIN: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
FURTHER: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.FloorDiv: operator.floordiv,
    ast.Pow: _power,
}
SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def _value(node: ast.expr, strict: bool) -> Any:
    known = PLAIN if strict else PLAIN | FURTHER
    match node:
        case ast.Constant(value=int() | float() as number) if not (strict and isinstance(number, float)):
            return number
        case ast.UnaryOp(op=sign, operand=inner) if type(sign) in SIGNS:
            return SIGNS[type(sign)](_value(inner, strict))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in known:
            return known[type(sign)](_value(left, strict), _value(right, strict))
    raise Unreadable(f"that is more than {ALLOWED}" if strict else "that is no equation")


def solution(wanted: Puzzle) -> str | None:
    """An equation that is right; None where there is none, or more numbers than are searched through."""
    if not 1 <= len(wanted.nums) <= MOST_SOLVED:
        return None
    found = next(_solutions([(Fraction(n), str(n)) for n in wanted.nums], wanted.target), None)
    return found[1:-1] if found is not None and found[0] == "(" else found


def _solutions(parts: list[tuple[Fraction, str]], target: int) -> Iterator[str]:
    if len(parts) == 1:
        if parts[0][0] == target:
            yield parts[0][1]
        return
    for i, j in permutations(range(len(parts)), 2):
        rest = [part for n, part in enumerate(parts) if n not in (i, j)]
        (a, left), (b, right) = parts[i], parts[j]
        made = [(a - b, "-")] + ([(a / b, "/")] if b else [])
        if i < j:
            made += [(a + b, "+"), (a * b, "*")]
        for value, sign in made:
            yield from _solutions([*rest, (value, f"({left}{sign}{right})")], target)


def drawn(rng: Random, numbers: int, most: int) -> tuple[Puzzle, str]:
    """A puzzle, its numbers in order and its target from 1 to 100, and an equation that solves it."""
    while True:
        nums = [rng.randint(1, most) for _ in range(numbers)]
        value, text, loose = nums[0], str(nums[0]), False
        for n in nums[1:]:
            sign = rng.choice("+-*/")
            if sign == "/" and value % n:
                sign = "*"
            if sign in "*/" and loose:
                text = f"({text})"
            value = {"+": value + n, "-": value - n, "*": value * n, "/": value // n}[sign]
            text, loose = f"{text}{sign}{n}", sign in "+-"
        if 1 <= value <= 100:
            return Puzzle(nums=tuple(sorted(nums)), target=value), text
