r"""An answer as written -> what it is: `read` gives one typed value for every text.

Structure first (rows, lists, brackets, relations), then what stands around a value (unit, percent sign,
base), then the expression itself. What none of the rules understands is `Opaque`, and no error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from rlvr_cli.verifiers.mathematics import words
from rlvr_cli.verifiers.mathematics.around import based, clock, percentage, quantity, ratio
from rlvr_cli.verifiers.mathematics.grammar import parse
from rlvr_cli.verifiers.mathematics.matrices import environment
from rlvr_cli.verifiers.mathematics.names import name_of, set_of_numbers
from rlvr_cli.verifiers.mathematics.plain import plain_value
from rlvr_cli.verifiers.mathematics.plusminus import variants
from rlvr_cli.verifiers.mathematics.structure import Tokens, enclosed, split
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable, tokens
from rlvr_cli.verifiers.mathematics.values import (
    Expression,
    Interval,
    Listing,
    Named,
    Number,
    Opaque,
    Relation,
    Tuple,
    Union,
    Value,
    Word,
)
from rlvr_cli.verifiers.mathematics.vocabulary import TRIGONOMETRIC

MAX_NESTING = 12
"""Tuples of tuples of ..."""
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_TRAILING = frozenset((".", ",", ";", ":", "\\\\", "。"))
_RELATIONS = {
    **{"=": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\approx": "~", r"\in": "in"},
    **{r"\equiv": r"\equiv", r"\sim": r"\sim", r"\cong": r"\cong", r"\to": r"\to", r"\notin": r"\notin"},
    **{r"\perp": r"\perp", r"\parallel": r"\parallel", r"\subset": r"\subset", r"\subseteq": r"\subseteq"},
    **{r"\implies": r"\implies", r"\Rightarrow": r"\implies", r"\iff": r"\iff", r"\propto": r"\propto"},
    **{r"\mapsto": r"\mapsto", r"\simeq": r"\sim"},
}


@lru_cache(maxsize=8192)
def read(text: str, letter_units: bool = False) -> Value:
    """`letter_units`: a single spaced letter behind a number is a unit (`3 m`), and no symbol.

    Rejected where a factorial in it is too large; else it raises nothing but MemoryError, whatever the text.
    """
    if _INTEGER.fullmatch(text):
        return Number(Fraction(int(text)))
    try:
        found = tokens(text)
    except (Unreadable, RecursionError):
        return Opaque(text.strip())
    try:
        return _Reader(letter_units).value(found, 0)
    except (Unreadable, RecursionError):
        return words.prose(_trimmed(found)) or opaque(found)


def opaque(found: Tokens) -> Opaque:
    return Opaque(
        " ".join(f"\\text{{{token.text}}}" if token.kind == "text" else token.text for token in found)
    )


def _trimmed(row: Tokens) -> Tokens:
    end = len(row)
    while end and row[end - 1].text in _TRAILING and row[end - 1].kind != "text":
        end -= 1
    return row[:end]


def _joins(token: Token) -> bool:
    if token.kind in ("text", "run"):
        return token.text.strip(" ,").lower() in words.JOINED
    return token.text in (",", ";", r"\lor")


class _Reader:
    def __init__(self, letter_units: bool) -> None:
        self.letter_units = letter_units

    def value(self, row: Tokens, depth: int) -> Value:
        """Unreadable where no rule applies."""
        if depth > MAX_NESTING:
            raise Unreadable("nested too deep")
        goes_on = [token.text for token in row[-3:]] == [".", ".", "."]
        row = _trimmed(row)
        if not row or goes_on:  # 0.333... is no 0.333
            raise Unreadable("nothing, or a number that goes on")
        if len(row) == 1 and row[0].text in (r"\ldots", r"\dots", r"\cdots"):
            return Word("...")
        if row[0].text == "{" and enclosed(row) and not any(token.text == "," for token in row):
            return self.value(row[1:-1], depth + 1)
        alone = words.word(row)
        if alone is not None:
            return alone
        rules: tuple[Callable[[Tokens, int], Value | None], ...] = (
            *(self.outward, self.table, self.listing, self.union, self.modulo, self.relation),
            *(self.bracket, self.around, self.expression),
        )
        for rule in rules:
            found = rule(row, depth + 1)
            if found is not None:
                return found
        raise Unreadable("nothing known")

    def values(self, rows: list[Tokens], depth: int) -> tuple[Value, ...]:
        return tuple(self.value(row, depth) for row in rows)

    def outward(self, row: Tokens, depth: int) -> Value | None:
        """`]0,1[`, the other way of writing an open end."""
        first, last = row[0].text, row[-1].text
        if len(row) < 5 or (first, last) not in (("]", "["), ("]", "]"), ("[", "["), ("]", ")"), ("(", "[")):
            return None
        return self.interval(row[1:-1], first == "[", last == "]", depth)

    def table(self, row: Tokens, depth: int) -> Value | None:
        return environment(row, depth, self.value)

    def listing(self, row: Tokens, depth: int) -> Value | None:
        parts, separators = split(row, _joins)
        parts = [part for part in parts if part]
        if not separators or not parts:
            return None
        if len(parts) == 1:
            return self.value(parts[0], depth)
        return Listing(self.values(parts, depth))

    def union(self, row: Tokens, depth: int) -> Value | None:
        parts, signs = split(row, lambda token: token.text in (r"\cup", r"\setminus"))
        names = [set_of_numbers(part) for part in parts]
        if not signs:
            return Union((Word(names[0], name=True),)) if names[0] else None
        if any(
            sign.text == r"\cup"
            for sign in signs[next((i for i, s in enumerate(signs) if s.text != r"\cup"), 99) :]
        ):
            raise Unreadable("a union of what something was taken from")
        made = [
            Word(name, name=True) if name else self.value(part, depth)
            for name, part in zip(names, parts, strict=True)
        ]
        joined = 1 + sum(sign.text == r"\cup" for sign in signs)
        return Union(tuple(made[:joined]), tuple(made[joined:]))

    def modulo(self, row: Tokens, depth: int) -> Value | None:
        """`3 \\pmod 5`."""
        at = next(
            (i for i, token in enumerate(row) if token.text.lstrip("\\") in ("pmod", "bmod", "mod")), None
        )
        if not at or (row[at - 1].text == "(" and row[-1].text != ")"):
            return None
        head, tail = (
            (row[: at - 1], row[at + 1 : -1]) if row[at - 1].text == "(" else (row[:at], row[at + 1 :])
        )
        name = "mod"
        left = self.value(head, depth)
        if isinstance(left, Relation) and left.signs == (r"\equiv",):
            return Relation((*left.sides, self.value(tail, depth)), (r"\equiv", name))
        return Relation((left, self.value(tail, depth)), (name,))

    def relation(self, row: Tokens, depth: int) -> Value | None:
        parts, found = split(row, lambda token: token.kind != "text" and token.text in _RELATIONS)
        if not found:
            return None
        signs = tuple(_RELATIONS[token.text] for token in found)
        name = name_of(parts[0])
        if len(parts) == 2 and signs == ("=",) and name is None:  # 4 = x
            turned = name_of(parts[1])
            if turned is not None:
                return Named(turned, self.value(parts[0], depth))
        if signs[0] in ("=", "in") and len(signs) == 1 and name is not None:
            return Named(name, self.value(parts[1], depth))
        if "in" in signs and len(signs) == 1 and parts[0]:
            return Relation((opaque(parts[0]), self.value(parts[1], depth)), signs)
        sides = self.values(parts, depth)
        if (
            name is not None
            and set(signs) == {"="}
            and isinstance(sides[-1], Number)
            and len(set(map(_plain, sides[1:]))) == 1
        ):
            return Named(name, sides[-1])
        return Relation(sides, signs)

    def bracket(self, row: Tokens, depth: int) -> Value | None:
        first, last = row[0].text, row[-1].text
        if not enclosed(row) or first.startswith("\\begin{"):
            return None
        inside = row[1:-1]
        if first == r"\{":
            return self.braces(inside, depth)
        if first in (r"\lfloor", r"\lceil"):
            return None
        parts, separators = split(inside, lambda token: token.text in (",", ";"))
        if not separators:
            if first + last not in ("()", "[]", "{}"):
                raise Unreadable("brackets that enclose one thing")
            return self.value(inside, depth)
        if not all(parts):
            raise Unreadable("nothing between two commas")
        if len(parts) == 2 and first + last in ("[]", "[)", "(]"):
            return self.interval(inside, first == "[", last == "]", depth)
        if first + last in ("[)", "(]"):
            raise Unreadable("brackets do not match")
        if first == "{":
            return Listing(self.values(parts, depth), braces=True)
        return Tuple(self.values(parts, depth))

    def interval(self, inside: Tokens, low: bool, high: bool, depth: int) -> Interval:
        parts, _ = split(inside, lambda token: token.text in (",", ";"))
        if len(parts) != 2:
            raise Unreadable("an interval has two ends")
        return Interval(self.value(parts[0], depth), self.value(parts[1], depth), low, high)

    def braces(self, inside: Tokens, depth: int) -> Value:
        if not inside:
            return Listing((), braces=True)
        for bar in ("|", ":"):
            parts, separators = split(inside, lambda token, bar=bar: token.text == bar)  # type: ignore[misc]
            if len(separators) == 1 and all(parts):
                condition = self.value(parts[1], depth)
                if isinstance(condition, Relation | Listing | Named):
                    return condition
        parts, _ = split(inside, _joins)
        return Listing(self.values([part for part in parts if part], depth), braces=True)

    def around(self, row: Tokens, depth: int) -> Value | None:
        """What stands around one value."""
        inner = self.value
        if row[-1].text == r"\degree" and any(token.text[1:] in TRIGONOMETRIC for token in row):
            return None
        return (
            clock(row)
            or ratio(row, depth, inner)
            or based(row)
            or percentage(row, depth, inner)
            or quantity(row, depth, inner, self.letter_units)
        )

    def expression(self, row: Tokens, depth: int) -> Value:
        if len(row) == 1 and row[0].text == r"\emptyset":
            return Listing((), braces=True)
        made = [plain_value(tree) for tree in variants(parse(row))]
        if len(made) > 1:
            return Listing(tuple(made))
        value = made[0]
        if isinstance(value, Expression) and all(token.kind in ("letter", "run") for token in row):
            return Expression(value.tree, "".join(token.text for token in row))
        return value


def _plain(value: Value) -> Value:
    return Number(value.value) if isinstance(value, Number) else value
