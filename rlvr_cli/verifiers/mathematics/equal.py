"""Whether two values are equal: one rule for each pair of types, all of them in RULES.

A pair that is not in the table is of two different kinds, and different. docs/verifiers/math.md states the
rules with an example for each. No rule sees text: what a rule gets is what the reader made of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlvr_cli.verifiers.mathematics import equal_alone as alone
from rlvr_cli.verifiers.mathematics import equal_relations as linked
from rlvr_cli.verifiers.mathematics import equal_several as several
from rlvr_cli.verifiers.mathematics.comparison import Comparison, Rule
from rlvr_cli.verifiers.mathematics.rules import Rules
from rlvr_cli.verifiers.mathematics.values import (
    Based,
    Cases,
    Expression,
    Interval,
    Letter,
    Listing,
    Matrix,
    Named,
    Number,
    Opaque,
    Percentage,
    Quantity,
    Ratio,
    Relation,
    Time,
    Tuple,
    Union,
    Value,
    Word,
)


def compare(said: Value, meant: Value, rules: Rules, deep: bool) -> bool:
    """Whether they are equal. Later: not `deep`, and it takes more than fractions and text. Unknown: no rule
    decides. Rejected: too large to compute."""
    return Comparison(rules, RULES, deep).equal(said, meant)


RULES: dict[tuple[type, type], Rule] = {
    (Based, Based): alone.based,
    (Letter, Letter): alone.letters,
    (Word, Word): alone.words,
    (Ratio, Ratio): alone.ratios,
    (Time, Time): alone.times,
    (Tuple, Tuple): several.tuples,
    (Listing, Listing): several.listings,
    (Interval, Interval): several.intervals,
    (Matrix, Matrix): several.matrices,
    (Cases, Cases): several.cases,
    (Named, Named): linked.named,
    (Relation, Relation): linked.relations,
    (Percentage, Percentage): alone.percentages,
}


def _both_ways(first: Sequence[type], second: Sequence[type], rule: Rule) -> None:
    """The more special rules are given first, and stay."""
    for one in first:
        for other in second:
            RULES.setdefault((one, other), rule)
            RULES.setdefault((other, one), rule)


_SCALAR = (Number, Expression)
_ALL = (
    Number,
    Expression,
    Percentage,
    Letter,
    Word,
    Based,
    Ratio,
    Time,
    Tuple,
    Listing,
    Interval,
    Union,
    Matrix,
)
_both_ways(_SCALAR, _SCALAR, alone.scalars)
_both_ways([Percentage], _SCALAR, alone.percentages)
_both_ways([Letter], [Expression], alone.letter_symbol)
_both_ways([Word], [Expression], alone.word_expression)
_both_ways([Based], [Number], alone.based_number)
_both_ways([Time], [Ratio], alone.time_ratio)
_both_ways([Listing], [Tuple], several.listing_tuple)
_both_ways([Interval], [Tuple], several.interval_tuple)
_both_ways([Union], [Union, Interval, Tuple], several.unions)
_both_ways([Matrix], [Tuple], several.vector)
_both_ways([Expression], [Tuple, Matrix], several.basis)
_both_ways([Named], [Relation], linked.named_relation)
RULES[Relation, Tuple] = linked.inequality_pair
_both_ways([Relation], [Interval, Tuple, Union], linked.inequality)
_both_ways([Union], [Listing], linked.inequality)
_both_ways([Matrix], [Number], several.determinant)
_both_ways([Quantity], [Quantity, *_ALL, Cases, Relation], alone.quantities)
_both_ways([Named], [*_ALL, Cases, Quantity], linked.unnamed)
_both_ways(
    [Listing], [*_SCALAR, Percentage, Quantity, Letter, Word, Interval, Relation, Matrix], several.singleton
)
_both_ways(
    [Opaque],
    [Opaque, *_SCALAR, Percentage, Quantity, Tuple, Listing, Interval, Union, Matrix, Cases, Named, Relation],
    alone.opaque,
)
