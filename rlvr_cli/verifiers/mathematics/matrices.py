"""Matrices, with a number in front or not, and rows of cases."""

from __future__ import annotations

import re

from rlvr_cli.verifiers.mathematics.around import Inner
from rlvr_cli.verifiers.mathematics.grammar import parse
from rlvr_cli.verifiers.mathematics.nodes import Node, Num, Product
from rlvr_cli.verifiers.mathematics.plain import plain_value
from rlvr_cli.verifiers.mathematics.structure import Tokens, enclosed, levels, split
from rlvr_cli.verifiers.mathematics.tokens import Unreadable
from rlvr_cli.verifiers.mathematics.values import Cases, Expression, Matrix, Number, Value

_MATRIX = re.compile(r"\\begin\{(?:[pbBvV]|small)?matrix\}|\\begin\{array\}")
_CASES = re.compile(r"\\begin\{(?:cases|aligned|align\*?|rcases|gathered)\}")


def environment(row: Tokens, depth: int, inner: Inner) -> Value | None:
    """A matrix, with a number in front or not, or cases."""
    start = next((i for i, token in enumerate(row) if token.text.startswith("\\begin{")), None)
    if start is None or not row[-1].text.startswith("\\end{") or not enclosed(row[start:]):
        return None
    kind, inside = row[start].text, row[start + 1 : -1]
    if _CASES.fullmatch(kind) and start == 0:
        return Cases(_rows(inside, depth, inner))
    if not _MATRIX.fullmatch(kind):
        return None
    if kind == r"\begin{array}" and inside and inside[0].text == "{":
        inside = inside[levels(inside)[1:].index(0) + 2 :]
    rows = _rows(inside, depth, inner)
    if start:
        scale = parse(row[: start - 1] if row[start - 1].text == "*" else row[:start])
        rows = tuple(tuple(_scaled(scale, entry) for entry in line) for line in rows)
    return Matrix(rows, bars="v" in kind.removeprefix(r"\begin").lower())


def _rows(inside: Tokens, depth: int, inner: Inner) -> tuple[tuple[Value, ...], ...]:
    lines, _ = split(inside, lambda token: token.text == "\\\\" and token.kind == "command")
    if lines and not lines[-1]:
        lines.pop()
    made = []
    for line in lines:
        cells, _ = split(line, lambda token: token.text == "&")
        made.append(tuple(inner(cell, depth) for cell in cells if cell))
    if not made or not all(made):
        raise Unreadable("an empty row")
    return tuple(made)


def _scaled(scale: Node, entry: Value) -> Value:
    match entry:
        case Number(value, _):
            return plain_value(Product((scale, Num(value))))
        case Expression(tree, _):
            return plain_value(Product((scale, tree)))
    raise Unreadable("a matrix that cannot be scaled")
