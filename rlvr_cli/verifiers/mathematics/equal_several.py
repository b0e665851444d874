"""Rules for values of several parts: tuples, lists, sets, intervals, matrices, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations

from rlvr_cli.verifiers.mathematics.comparison import Comparison
from rlvr_cli.verifiers.mathematics.nodes import Num, Product, Sum
from rlvr_cli.verifiers.mathematics.relations import node_of
from rlvr_cli.verifiers.mathematics.rules import Later, Order
from rlvr_cli.verifiers.mathematics.sets import NoReals, same_set
from rlvr_cli.verifiers.mathematics.values import (
    Cases,
    Expression,
    Interval,
    Listing,
    Matrix,
    Named,
    Number,
    Tuple,
    Union,
    Value,
)
from rlvr_cli.verifiers.mathematics.vectors import components


def tuples(to: Comparison, said: Tuple, meant: Tuple) -> bool:
    return to.each(said.items, meant.items)


def listings(to: Comparison, said: Listing, meant: Listing) -> bool:
    mine, other = _spread(said.items), _spread(meant.items)
    if _several_names(mine) != _several_names(other):  # 2, 3 for x = 2, y = 3: in its order
        return to.each(mine, other)
    if to.rules.order is Order.as_given and not (said.braces or meant.braces):
        return to.each(mine, other)
    return to.any_order(mine, other)


def _several_names(items: list[Value]) -> bool:
    return len({item.name for item in items if isinstance(item, Named)}) > 1


def _spread(items: Sequence[Value]) -> list[Value]:
    """Lists within a list (`1 \\pm \\sqrt2, 3`) are part of it."""
    found: list[Value] = []
    for item in items:
        found += _spread(item.items) if isinstance(item, Listing) and not item.braces else [item]
    return found


def listing_tuple(to: Comparison, said: Listing | Tuple, meant: Listing | Tuple) -> bool:
    """`x=1, y=2` or `1, 2` for `(1,2)`, in its order; a set is no tuple."""
    listing, other = (said, meant) if isinstance(said, Listing) else (meant, said)
    assert isinstance(listing, Listing)
    if listing.braces:
        return len(listing.items) == 1 and singleton(to, said, meant)
    items = listing.items
    names = [item.name for item in items if isinstance(item, Named)]
    if len(names) == len(items):
        if len(set(names)) < len(names) or any(len(name) > 1 for name in names):
            return False
        items = tuple(sorted(items, key=lambda item: item.name if isinstance(item, Named) else ""))
        items = tuple(item.value for item in items if isinstance(item, Named))
    elif names:
        return False
    pair = (items, other.items) if isinstance(said, Listing) else (other.items, items)
    return to.each(*pair)


def singleton(to: Comparison, said: Value, meant: Value) -> bool:
    """A set or list of one thing is that thing."""
    one, other = (v.items[0] if isinstance(v, Listing) and len(v.items) == 1 else v for v in (said, meant))
    if isinstance(one, Listing) or isinstance(other, Listing):
        return False
    return to.equal(one, other)


def intervals(to: Comparison, said: Interval, meant: Interval) -> bool:
    if (said.low_closed, said.high_closed) != (meant.low_closed, meant.high_closed):
        return False
    return to.each((said.low, said.high), (meant.low, meant.high))


def interval_tuple(to: Comparison, said: Interval | Tuple, meant: Interval | Tuple) -> bool:
    """`(0,1)` is a point or an open interval; `[1,2]` two items in brackets or a closed one."""
    interval, pair = (said, meant) if isinstance(said, Interval) else (meant, said)
    assert isinstance(interval, Interval) and isinstance(pair, Tuple)
    ends = (interval.low, interval.high)
    if len(pair.items) != 2 or interval.low_closed or interval.high_closed:
        return False
    return to.each(ends, pair.items) if interval is said else to.each(pair.items, ends)


def unions(to: Comparison, said: Value, meant: Value) -> bool:
    mine, other = (v if isinstance(v, Union) else Union((v,)) for v in (said, meant))
    if mine == other:
        return True
    if not to.deep:
        raise Later
    try:
        return same_set(mine, other)
    except NoReals:
        return to.any_order(mine.parts, other.parts) and to.any_order(mine.minus, other.minus)


def matrices(to: Comparison, said: Matrix, meant: Matrix) -> bool:
    if said.bars != meant.bars or list(map(len, said.rows)) != list(map(len, meant.rows)):
        return False
    return to.each([x for row in said.rows for x in row], [x for row in meant.rows for x in row])


def determinant(to: Comparison, said: Value, meant: Value) -> bool:
    """`\\begin{vmatrix}` of two or three rows is a number or an expression."""
    matrix, other = (said, meant) if isinstance(said, Matrix) else (meant, said)
    assert isinstance(matrix, Matrix)
    nodes = [[node_of(entry) for entry in row] for row in matrix.rows]
    if not matrix.bars or len(nodes) not in (2, 3) or any(len(row) != len(nodes) for row in nodes):
        return False
    terms = []
    for order in permutations(range(len(nodes))):
        factors = [row[column] for row, column in zip(nodes, order, strict=True)]
        if None in factors:
            return False
        odd = sum(a > b for a, b in combinations(order, 2)) % 2
        terms.append(Product((Num(Fraction(-1 if odd else 1)), *factors)))  # type: ignore[arg-type]
    return to.equal(Expression(Sum(tuple(terms))), other)


def vector(to: Comparison, said: Matrix | Tuple, meant: Matrix | Tuple) -> bool:
    """A tuple for a matrix of one row or column: the same coordinates."""
    flat = [_coordinates(value) for value in (said, meant)]
    return all(flat) and to.each(*flat)


def basis(to: Comparison, said: Expression | Tuple | Matrix, meant: Expression | Tuple | Matrix) -> bool:
    """`2\\hat i + 3\\hat j` for `(2,3)`; a determinant is an expression itself."""
    if any(isinstance(value, Matrix) and value.bars for value in (said, meant)):
        return determinant(to, said, meant)
    pair = [
        components(value.tree) if isinstance(value, Expression) else _coordinates(value)
        for value in (said, meant)
    ]
    if not all(pair):
        return False
    size = min(map(len, pair))
    mine, other = (coordinates[:size] + _nonzero(coordinates[size:]) for coordinates in pair)
    return to.each(mine, other)


def _nonzero(values: list[Value]) -> list[Value]:
    return [value for value in values if value != Number(Fraction(0))]


def _coordinates(value: Matrix | Tuple) -> list[Value]:
    if isinstance(value, Tuple):
        return list(value.items)
    if value.bars or not (len(value.rows) == 1 or all(len(row) == 1 for row in value.rows)):
        return []
    return [entry for row in value.rows for entry in row]


def cases(to: Comparison, said: Cases, meant: Cases) -> bool:
    return to.any_order([Tuple(row) for row in said.rows], [Tuple(row) for row in meant.rows])
