"""Brackets: what is enclosed, and where a row of tokens may be split."""

from __future__ import annotations

from collections.abc import Callable

from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable

Tokens = list[Token]

OPENING = {
    "(": "round",
    "[": "square",
    r"\{": "curly",
    "{": "group",
    r"\langle": "angle",
    r"\lfloor": "floor",
}
CLOSING = {
    ")": "round",
    "]": "square",
    r"\}": "curly",
    "}": "group",
    r"\rangle": "angle",
    r"\rfloor": "floor",
}
OPENING |= {r"\lceil": "ceil"}
CLOSING |= {r"\rceil": "ceil"}
MAX_PARTS = 300
"""Of a list, rows of a matrix and the like."""
_EITHER = ("round", "square")
"""An interval may open with one and close with the other."""


def levels(tokens: Tokens) -> list[int]:
    """How many brackets are open around each token; a bracket itself is outside. Unreadable: unbalanced."""
    found, open_ = [], list[str]()
    for token in tokens:
        text = token.text
        if token.kind == "text":
            found.append(len(open_))
            continue
        closed = CLOSING.get(text) or (text[5:-1] if text.startswith("\\end{") else None)
        if closed is not None:
            if not open_ or not (open_[-1] == closed or (open_[-1] in _EITHER and closed in _EITHER)):
                raise Unreadable("brackets do not match")
            open_.pop()
        found.append(len(open_))
        opened = OPENING.get(text) or (text[7:-1] if text.startswith("\\begin{") else None)
        if opened is not None:
            open_.append(opened)
    if open_:
        raise Unreadable("a bracket is not closed")
    return found


def split(tokens: Tokens, apart: Callable[[Token], bool]) -> tuple[list[Tokens], Tokens]:
    """(what stands between separators outside all brackets, the separators)."""
    parts, separators = [Tokens()], Tokens()
    for token, level in zip(tokens, levels(tokens), strict=True):
        if level == 0 and apart(token):
            separators.append(token)
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) > MAX_PARTS:
        raise Unreadable("too many parts")
    return parts, separators


def enclosed(tokens: Tokens) -> bool:
    """Whether the first token's bracket is closed by the last."""
    if len(tokens) < 2 or not (tokens[0].text in OPENING or tokens[0].text.startswith("\\begin{")):
        return False
    return levels(tokens)[1:].count(0) == 1 and levels(tokens)[-1] == 0
