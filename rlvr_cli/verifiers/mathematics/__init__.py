"""Mathematical answers: a reader that gives typed values, and one rule of equality for each pair of types.

read(r"\\frac12")                      -> values.Number(Fraction(1, 2))
equal(read("0.5"), read(r"\\frac12"))  -> True
"""

from __future__ import annotations

from rlvr_cli.verifiers.mathematics.equal import compare
from rlvr_cli.verifiers.mathematics.reader import read as read
from rlvr_cli.verifiers.mathematics.rules import Rules, Unknown
from rlvr_cli.verifiers.mathematics.values import Value


def equal(said: Value, meant: Value, rules: Rules | None = None) -> bool | None:
    """By the rules alone, whatever it takes; None where they do not decide. Rejected: too large."""
    try:
        return compare(said, meant, rules or Rules(), deep=True)
    except Unknown:
        return None
