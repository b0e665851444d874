"""Numbers and expressions: exactly where they are rational, at points where they are not."""

from __future__ import annotations

from fractions import Fraction

from rlvr_cli.verifiers.mathematics.exact import APPROXIMATE_PLACES, NotExact, approximates, fold
from rlvr_cli.verifiers.mathematics.nodes import Node, Num, Product, decimal, symbols
from rlvr_cli.verifiers.mathematics.points import agree, rounds_to
from rlvr_cli.verifiers.mathematics.rules import Later, Unknown
from rlvr_cli.verifiers.mathematics.values import Expression, Number, Percentage

Scalar = Number | Expression


def tree(value: Scalar) -> Node:
    return Num(value.value) if isinstance(value, Number) else value.tree


def scalars(said: Scalar, meant: Scalar, deep: bool) -> bool:
    """Later, where it takes more than comparing two fractions. Unknown: no values to compare."""
    if isinstance(said, Number) and isinstance(meant, Number):
        return (
            said.value == meant.value
            or approximates(said.value, said.places, meant.value)
            or approximates(meant.value, meant.places, said.value)
        )
    if said == meant:
        return True
    if not deep:
        raise Later
    if _deep(folded(said), folded(meant)):
        return True
    one, other = (v if isinstance(v, Number) else Expression(decimal(v.tree)) for v in (said, meant))
    # Where one side alone has a \log without a base, the other does not say which base is meant.
    return (one == said) != (other == meant) and _deep(folded(one), folded(other))


def folded(value: Scalar) -> Scalar:
    """Big rational numbers are computed here and not when the answer is read."""
    if isinstance(value, Number):
        return value
    try:
        return Number(fold(value.tree))
    except NotExact:
        return value


def _deep(said: Scalar, meant: Scalar) -> bool:
    if isinstance(said, Number) and isinstance(meant, Number):
        return scalars(said, meant, deep=True)
    for one, other in ((said, meant), (meant, said)):
        if not isinstance(one, Number) or one.places < APPROXIMATE_PLACES or symbols(tree(other)):
            continue
        if rounds_to(one.value, one.places, tree(other)):
            return True
    found = agree(tree(said), tree(meant))
    if found is None:
        raise Unknown
    return found


def hundredth(value: Scalar) -> Scalar:
    if isinstance(value, Number):
        return Number(value.value / 100, value.places + 2 if value.places else 0)
    return Expression(Product((Num(Fraction(1, 100)), value.tree)))


def percentages(said: Percentage | Scalar, meant: Percentage | Scalar, deep: bool) -> bool:
    """50% is 50 and is 0.5; without the sign, 50 and 0.5 differ."""
    mine = said.value if isinstance(said, Percentage) else said
    other = meant.value if isinstance(meant, Percentage) else meant
    if isinstance(said, Percentage) and isinstance(meant, Percentage):
        return scalars(mine, other, deep)
    with_sign, without = (mine, other) if isinstance(said, Percentage) else (other, mine)
    quick = isinstance(mine, Number) and isinstance(other, Number)
    if not quick and not deep:
        raise Later
    return scalars(mine, other, deep) or scalars(hundredth(with_sign), without, deep)
