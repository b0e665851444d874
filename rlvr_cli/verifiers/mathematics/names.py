"""What may stand before an equals sign as the name of the value behind it."""

from __future__ import annotations

import re

from rlvr_cli.verifiers.mathematics import words
from rlvr_cli.verifiers.mathematics.structure import Tokens, enclosed, split
from rlvr_cli.verifiers.mathematics.tokens import Token
from rlvr_cli.verifiers.mathematics.vocabulary import GREEK

LONGEST = 24
"""Tokens."""
_SETS = re.compile(r"[RZQNC]")
_ACCENTED = (r"\vec", r"\overline", r"\hat", r"\tilde", r"\mathbf")


def name_of(row: Tokens) -> str | None:
    """The name that `row` is: a symbol, a function of symbols, a tuple of symbols, or words; else None.

    A product is none: `xy = 4` and `2x = 4` are equations.
    """
    if not row or len(row) > LONGEST:
        return None
    written = "".join(token.text for token in row)
    if re.fullmatch(r"\\frac\{d[A-Za-z]?\}\{d[A-Za-z]\}", written):
        return written
    marked = words.named(row[1:] if row[0].text == "m" and row[1:2] and row[1].text == r"\angle" else row)
    if marked is not None:
        return marked.text
    if row[0].text == "(" and enclosed(row):
        parts, commas = split(row[1:-1], lambda token: token.text == ",")
        names = [name_of(part) for part in parts]
        return f"({','.join(name for name in names if name)})" if commas and all(names) else None
    opened = next((i for i, token in enumerate(row) if token.text == "("), None)
    if opened is not None:
        return _function(row[:opened], row[opened:])
    if all(_worded(token) for token in row):
        return words.spelled(row)
    return _symbol(row)


def _worded(token: Token) -> bool:
    return (token.kind == "text" and len(token.text) > 1) or (
        token.kind == "run" and words.wordlike(token.text)
    )


def _function(head: Tokens, tail: Tokens) -> str | None:
    """`f(x)`, `f_1(x,y)`, `f'(x)`, `f^{-1}(x)`, `P(A)`."""
    inverse = [token.text for token in head[-5:]] == ["^", "{", "-", "1", "}"]
    name = _symbol(head[:-5] if inverse else head)
    if name is None or not enclosed(tail) or any(token.text in "+-*/^" for token in tail):
        return None
    return name + ("^{-1}" if inverse else "") + "".join(token.text for token in tail)


def _symbol(row: Tokens) -> str | None:
    """One symbol with what hangs on it: `x`, `x_1`, `x_{\\max}`, `y''`, `\\vec{v}`, `AB`."""
    while row and row[-1].text == "'":
        row = row[:-1]
    if len(row) > 1 and row[0].text in _ACCENTED:
        row = [token for token in row[1:] if token.text not in "{}"]
    if not row:
        return None
    first, rest = row[0], row[1:]
    points = first.kind == "run" and first.text.isupper()
    if not (first.kind in ("letter", "text") or first.text in GREEK or points or _worded(first)):
        return None
    if rest and (rest[0].text != "_" or not (len(rest) == 2 or enclosed(rest[1:]))):
        return None
    return "".join(token.text for token in (first, *rest)).replace("{", "").replace("}", "")


def set_of_numbers(part: Tokens) -> str | None:
    """R of `\\mathbb{R}`."""
    letters = [token.text for token in part if token.text not in "{}"]
    if len(letters) >= 2 and letters[0] == r"\mathbb" and _SETS.fullmatch(letters[1]):
        tail = "".join(letters[2:])
        return letters[1] + tail if tail in ("", "^+", "^-", "^2", "^3", "^n", "^*") else None
    return None
