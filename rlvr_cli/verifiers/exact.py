"""Exact rational arithmetic on answers: no floats, no sympy, no `eval` of model text.

`evaluate` reads integers (thousands separators too), decimals, fractions, mixed numbers, powers,
factorials and binomials. Whatever it reads is compared as `fractions.Fraction`, so that
10^12 + 1 differs from 10^12 and 2^{-98} from 2^{-99}. Results have a size limit: `9^{9^9}` is a
few characters and no computer's memory.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, factorial

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.extract import Rejected

MAX_BITS = 1 << 16
"""Size of the largest number computed; 5000! has 54,000 bits."""
MAX_ARGUMENT = 5000
"""Of a factorial or binomial."""
MAX_DEPTH = 30
APPROXIMATE_PLACES = 6
"""Decimals from which on 0.333333 may stand for 1/3."""

INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_DECIMAL = re.compile(r"[-+]?[0-9,]*\.([0-9]+)")
_MIXED = re.compile(r"(-?)([0-9]{1,50})\s+([0-9]{1,50})\s*/\s*([0-9]{1,50})")
_TOKEN = re.compile(
    r"\s*(?:([0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"|(\\frac|\\binom|\\times|\\cdot|\\div|[-+*/^!(){}])(?![A-Za-z])|(\S))"
)
_PRODUCT = {"*": "*", "\\times": "*", "\\cdot": "*", "/": "/", "\\div": "/"}


class NotExact(Exception):
    """The text is not a rational expression."""


def too_large(what: str) -> Rejected:
    return Rejected(Reason.refused, f"{what} is too large to compute")


def _tokens(text: str) -> list[str]:
    """The tokens of `text`, last first."""
    tokens: list[str] = []
    for number, symbol, other in _TOKEN.findall(text):
        # A comma inside parentheses separates coordinates: (1,234) is a point.
        if other or ("," in number and "(" in text):
            raise NotExact
        tokens.append(number or symbol)
    return tokens[::-1]


class _Parser:
    """Recursive descent over + - * / ^ ! ( ) { } \\frac \\binom and mixed numbers."""

    def __init__(self, text: str) -> None:
        self.rest = _tokens(text)
        self.depth = 0

    def peek(self) -> str:
        return self.rest[-1] if self.rest else ""

    def take(self, expected: str = "") -> str:
        if not self.rest or (expected and self.rest[-1] != expected):
            raise NotExact
        return self.rest.pop()

    def sum(self) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotExact
        total = self.product()
        while self.peek() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            total = sized(total + sign * self.product())
        self.depth -= 1
        return total

    def product(self) -> Fraction:
        result = self.signed()
        while True:
            if self.peek() in _PRODUCT:
                times = _PRODUCT[self.take()] == "*"
                factor = self.signed()
            elif self.peek() in ("(", "\\frac", "\\binom"):
                times, factor = True, self.power()
            else:
                return result
            result = sized(result * factor if times else result / factor)

    def signed(self) -> Fraction:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        return sign * self.power()

    def power(self) -> Fraction:
        base = self.postfix()
        if self.peek() != "^":
            return base
        self.take()
        # Without braces the sign or number is the exponent: 2^10 means 2^{10} to those who write it.
        exponent = self.group() if self.peek() == "{" else self.signed_atom()
        return raised(base, exponent)

    def signed_atom(self) -> Fraction:
        sign = -1 if self.peek() == "-" and self.take() else 1
        return sign * self.atom()

    def postfix(self) -> Fraction:
        value = self.atom()
        while self.peek() == "!":
            self.take()
            value = Fraction(factorial(_argument(value)))
        return value

    def group(self) -> Fraction:
        self.take("{")
        value = self.sum()
        self.take("}")
        return value

    def argument(self) -> Fraction:
        """Of \\frac and \\binom: a group or, as TeX has it, one digit."""
        if self.peek() == "{":
            return self.group()
        digits = self.take()
        if not digits.isdigit():
            raise NotExact
        if digits[1:]:
            self.rest.append(digits[1:])
        return Fraction(int(digits[0]))

    def atom(self) -> Fraction:
        token = self.take()
        if token == "(":
            value = self.sum()
            self.take(")")
            return value
        if token == "{":
            self.rest.append(token)
            return self.group()
        if token == "\\frac":
            return self.argument() / self.argument()
        if token == "\\binom":
            n, k = _argument(self.argument()), _argument(self.argument())
            return Fraction(comb(n, k))
        if not (token[0].isdigit() or token[0] == "."):
            raise NotExact
        if self.peek() == "\\frac" and token.isdigit():  # mixed number
            self.take()
            part = self.argument() / self.argument()
            if not 0 < part < 1:
                raise NotExact
            return int(token) + part
        return Fraction(token.replace(",", ""))


def _argument(value: Fraction) -> int:
    if value.denominator != 1 or value < 0:
        raise NotExact
    if value > MAX_ARGUMENT:
        raise too_large("a factorial or binomial")
    return int(value)


def sized(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise too_large("a number")
    return value


def raised(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise NotExact
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and abs(exponent) * bits > MAX_BITS:
        raise too_large("a power")
    if base == 0 and exponent == 0:
        raise NotExact
    return Fraction(base ** (int(exponent) % 2 if abs(base) == 1 else int(exponent)))


def evaluate(text: str) -> Fraction | None:
    """The value of a rational expression; None where `text` is something else. Rejected: too large."""
    if INTEGER.fullmatch(text):
        return Fraction(int(text))
    mixed = _MIXED.fullmatch(text)
    try:
        if mixed:
            sign, whole, top, bottom = mixed.groups()
            value = int(whole) + Fraction(int(top), int(bottom))
            return -value if sign else value
        parser = _Parser(text)
        result = sized(parser.sum())
    except (NotExact, ZeroDivisionError):
        return None
    return None if parser.rest else result


def places(text: str) -> int:
    """Decimals of a decimal literal; 0 for anything else."""
    decimal = _DECIMAL.fullmatch(text)
    return len(decimal.group(1)) if decimal else 0


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
