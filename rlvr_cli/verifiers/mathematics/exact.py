"""Exact rational arithmetic on trees: no floats, no sympy, no `eval` of model text.

Whatever it reads is a `fractions.Fraction`, so that 10^12 + 1 differs from 10^12 and 2^{-98} from 2^{-99}.
Results have a size limit: `9^{9^9}` is a few characters and no computer's memory.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial, gcd, lcm

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.mathematics.grammar import parse
from rlvr_cli.verifiers.mathematics.nodes import Call, Node, Num, Power, Product, Sum
from rlvr_cli.verifiers.mathematics.tokens import Unreadable, tokens
from rlvr_cli.verifiers.rejected import Rejected

MAX_BITS = 1 << 16
"""Size of the largest number computed; 5000! has 54,000 bits."""
FEW_BITS = 1 << 11
"""The largest that is computed while an answer is read, which the training process does itself."""
MAX_ARGUMENT = 5000
"""Of a factorial or binomial."""
APPROXIMATE_PLACES = 6
"""Decimals from which on 0.333333 may stand for 1/3."""


class NotExact(Exception):
    """The tree is not a rational number, or one of more bits than were allowed."""


def too_large(what: str) -> Rejected:
    return Rejected(Reason.refused, f"{what} is too large to compute")


def fold(node: Node, bits: int = MAX_BITS) -> Fraction:
    """NotExact: no rational number, or above `bits`. Rejected: above MAX_BITS."""
    match node:
        case Num(value, _):
            return sized(value, bits)
        case Sum(terms):
            total = Fraction(0)
            for term in terms:
                total = sized(total + fold(term, bits), bits)
            return total
        case Product(factors):
            result = Fraction(1)
            for factor in factors:
                result = sized(result * fold(factor, bits), bits)
            return result
        case Power(base, exponent):
            return raised(fold(base, bits), fold(exponent, bits), bits)
        case Call("factorial", (argument,)):
            return Fraction(factorial(_argument(fold(argument, bits), bits)))
        case Call("binom", (n, k)):
            return Fraction(comb(_argument(fold(n, bits), bits), _argument(fold(k, bits), bits)))
        case Call("gcd" | "lcm", arguments) if arguments:
            return Fraction(
                (gcd if node.name == "gcd" else lcm)(*(_whole(fold(one, bits)) for one in arguments))
            )
        case Call("degrees", (argument,)):
            return fold(argument, bits)
    raise NotExact


def _whole(value: Fraction) -> int:
    if value.denominator != 1:
        raise NotExact
    return int(value)


def _argument(value: Fraction, bits: int) -> int:
    if value.denominator != 1 or value < 0:
        raise NotExact
    if value > MAX_ARGUMENT:
        raise too_large("a factorial or binomial")
    if bits < MAX_BITS and value > 100:
        raise NotExact
    return int(value)


def sized(value: Fraction, bits: int = MAX_BITS) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > bits:
        if bits < MAX_BITS:
            raise NotExact
        raise too_large("a number")
    return value


def raised(base: Fraction, exponent: Fraction, bits: int = MAX_BITS) -> Fraction:
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        raise NotExact
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and abs(exponent) * size > bits:
        if bits < MAX_BITS:
            raise NotExact
        raise too_large("a power")
    return Fraction(base ** (int(exponent) % 2 if abs(base) == 1 else int(exponent)))


def evaluate(text: str) -> Fraction | None:
    """The value of a rational expression; None where `text` is something else. Rejected: too large."""
    try:
        return fold(parse(tokens(text)))
    except (NotExact, Unreadable):
        return None


def approximates(decimal: Fraction, digits: int, value: Fraction) -> bool:
    """`decimal`, written with `digits` decimals, is `value` rounded or cut off there.

    Only for values without a finite decimal form, and not below 6 decimals: 0.333 is not 1/3.
    """
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    if denominator == 1 or digits < APPROXIMATE_PLACES:
        return False
    scale = 10**digits
    return decimal * scale in (round(value * scale), int(value * scale))
