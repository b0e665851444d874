r"""What is refused before anything is compared, and what may be handed to an algebra system.

Refused are answers that hedge, contradict themselves, leave the work undone, are code, or would cost more
than an answer may. Costs are estimated from what is written: nothing is expanded to find out.
"""

from __future__ import annotations

import re
from itertools import pairwise
from math import comb

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.mathematics.exact import MAX_ARGUMENT, NotExact, fold, too_large
from rlvr_cli.verifiers.mathematics.grammar import parse
from rlvr_cli.verifiers.mathematics.structure import CLOSING, OPENING, Tokens
from rlvr_cli.verifiers.mathematics.synonyms import names
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable, tokens
from rlvr_cli.verifiers.mathematics.values import Named, Number, Percentage, Relation, Value
from rlvr_cli.verifiers.mathematics.vocabulary import FUNCTIONS, GREEK
from rlvr_cli.verifiers.rejected import Rejected

MAX_EXPONENT = 10_000
"""In an expression that is not rational; above it sympy hangs."""
MAX_MONOMIALS = 10_000
"""Of a power of a sum, written out."""
MAX_LEVELS = 20
"""Brackets within brackets."""
MAX_SYMBOLIC = 300
"""Tokens that an algebra system is given."""

_HANDED_ON = names(r"""
\frac \sqrt \binom \sum \prod \int \lim \to \infty \pi \cup \cap \setminus \in \mathbb \emptyset \pm \{ \} \\
\le \ge \ne \lfloor \rfloor \lceil \rceil
""")
_HEDGE = re.compile(
    r"(?<![A-Za-z\\])(?:or|either|maybe|perhaps|possibly|alternatively)(?![A-Za-z])|\\(?:lor|vee)(?![A-Za-z])|\|\|",
    re.I,
)
_SEVERAL = re.compile(r"\\pm|\\cup|,|;|(?<![A-Za-z])and(?![A-Za-z])")
_CODE = re.compile(r"__|(?<![A-Za-z\\])(?:import|lambda|exec|eval|print|system|def|return)(?![A-Za-z])|[`#]")
_UNEVALUATED = re.compile(r"\\(sum|prod|int|iint|iiint|oint|lim|bigcup|bigcap)(?![A-Za-z])")


def refuse(written: str, gold: str) -> None:
    """Rejected where an answer is code, hedged or leaves an operator to evaluate that the gold has not."""
    if _CODE.search(written):
        raise Rejected(Reason.refused, "not a mathematical answer", written)
    if _HEDGE.search(written) and not (_SEVERAL.search(gold) or _HEDGE.search(gold)):
        raise Rejected(Reason.refused, "several alternatives where one answer is asked for", written)
    undone = {match.group(1) for match in _UNEVALUATED.finditer(written)}
    if undone and not undone <= {match.group(1) for match in _UNEVALUATED.finditer(gold)}:
        raise Rejected(Reason.refused, "an operator is left to evaluate", written)


def refuse_contradiction(said: Value) -> None:
    """Rejected for `x = 5 = 6`."""
    sides = said.sides if isinstance(said, Relation) and set(said.signs) == {"="} else ()
    numbers = {side.value for side in sides if isinstance(side, Number)}
    if len(numbers) > 1 and not any(isinstance(side, Percentage | Named) for side in sides):
        raise Rejected(Reason.refused, "the two sides of = differ")


def refuse_costly(text: str) -> None:
    """Rejected where an expression would keep an algebra system busy for its own sake."""
    try:
        row = tokens(text)
    except Unreadable:
        return
    opened: list[int] = []
    groups: dict[int, int] = {}
    for i, token in enumerate(row):
        if token.text in OPENING:
            opened.append(i)
        elif token.text in CLOSING and opened:
            groups[i] = opened.pop()
        if len(opened) > MAX_LEVELS:
            raise too_large("a bracket within brackets")
    for i, token in enumerate(row):
        if token.text == "^" and 0 < i < len(row) - 1:
            _refuse_power(row, i, groups)
        called = row[i - 1].text if i and token.text == "!" else ""
        if called.isdigit() and int(called[:9]) > MAX_ARGUMENT:
            raise too_large("a factorial or binomial")


def _refuse_power(row: Tokens, at: int, groups: dict[int, int]) -> None:
    ends = {start: end for end, start in groups.items()}
    last = ends.get(at + 1, at + 1)
    exponent = row[at + 1 : last + 1]
    if last + 1 < len(row) and row[last + 1].text == "^":
        raise too_large("a tower of exponents")
    try:
        value = abs(fold(parse(exponent)))
    except (Unreadable, NotExact):
        return
    if value > MAX_EXPONENT:
        raise too_large("an exponent")
    start = groups.get(at - 1)
    inside = row[start + 1 : at - 1] if start is not None else []
    terms = 1 + sum(token.text in ("+", "-", r"\pm") for token in inside[1:])
    if terms > 1 and comb(int(value) + terms - 1, terms - 1) > MAX_MONOMIALS:
        raise too_large("a power of a sum")


def letters(row: Tokens) -> set[str]:
    """The letters and words written in it: what an algebra system could take for a symbol or drop."""
    found: set[str] = set()
    for token in row:
        if token.kind in ("letter", "run"):
            found |= set(token.text)
        elif token.kind == "text" or token.text in GREEK or token.text in (r"\pi", r"\mathbb"):
            found.add(token.text)
    return found


def comparable(said: str, meant: str) -> bool:
    """Whether two texts may be handed on: the same letters and relations, and nothing that is dropped."""
    try:
        mine, other = tokens(said), tokens(meant)
    except Unreadable:
        return False
    if max(len(mine), len(other)) > MAX_SYMBOLIC or letters(mine) != letters(other):
        return False
    if not all(map(_known, (*mine, *other))):
        return False
    for row in (mine, other):
        for before, token in pairwise(row):
            if before.kind == "number" and (token.kind == "number" or token.text == "_"):
                return False  # 5 6 would be 11, and 10_2 be 10
    return all(
        sum(token.text == sign for token in mine) == sum(token.text == sign for token in other)
        for sign in ("=", "<", ">", r"\le", r"\ge", r"\ne", r"\equiv", r"\in", r"\approx")
    )


def _known(token: Token) -> bool:
    """Whether math-verify is known to read it, and not to pass over it."""
    if token.kind in ("number", "letter", "run"):
        return True
    if token.kind == "symbol":
        return token.text in "+-*/^_()[]{},=<>|!&"
    called = token.text in GREEK or token.text in _HANDED_ON or token.text[1:] in FUNCTIONS
    return called or token.text.startswith(("\\begin{", "\\end{"))
