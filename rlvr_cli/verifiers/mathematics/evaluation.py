"""The value of a tree at a point, to as many digits as it takes to lose nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rlvr_cli.verifiers.mathematics.exact import NotExact, fold, too_large
from rlvr_cli.verifiers.mathematics.nodes import (
    Call,
    Const,
    Node,
    Num,
    Power,
    Product,
    Sum,
    Sym,
)
from rlvr_cli.verifiers.mathematics.synonyms import names

DIGITS = 50
MOST_DIGITS = 2500
"""Where terms of very different size are added, so that the small one is not lost."""
LARGEST = 2400
"""Powers of ten: an irrational power above or below it is refused."""
SPARE = 15
"""Last digits that a comparison leaves out."""
MAX_GAMMA = 5000


class Undefined(Exception):
    """No value here: a division by zero, a logarithm of zero, an unknown function of no number."""


class Precision(Exception):
    def __init__(self, digits: int) -> None:
        super().__init__(digits)
        self.digits = digits


@lru_cache(maxsize=1)
def context() -> Any:
    import mpmath

    return mpmath.MPContext()


class Evaluation:
    def __init__(self, digits: int, values: dict[str, Any]) -> None:
        self.mp = context()
        self.mp.dps = self.digits = digits
        self.values = values
        self.scale = self.mp.mpf(0)
        """The largest term that was added."""
        self.real = True
        """Nothing on the way to the value was complex."""
        self.degrees = False

    def at(self, node: Node) -> Any:
        mp = self.mp
        match node:
            case Num(value, _):
                return mp.mpf(value.numerator) / value.denominator
            case Sym(name):
                return self.values[name]
            case Const(name):
                self.real &= name != "i"
                return {"pi": mp.pi, "e": mp.e, "i": mp.mpc(0, 1), "infinity": mp.inf}[name] * 1
            case Sum(terms):
                return self.added([self.at(term) for term in terms])
            case Product(factors):
                result = mp.mpf(1)
                for factor in factors:
                    result = self.checked(result * self.at(factor))
                return result
            case Power(base, exponent):
                return self.raised(self.at(base), self.at(exponent), exponent)
        return self.checked(self.called(node))

    def checked(self, value: Any) -> Any:
        """Undefined for what is no number; complex numbers without imaginary part become real."""
        mp = self.mp
        if mp.isnan(value):
            raise Undefined
        if isinstance(value, mp.mpc):
            if abs(value.imag) <= abs(value.real) * mp.mpf(10) ** (SPARE - self.digits):
                return value.real
            self.real = False
        return value

    def added(self, terms: list[Any]) -> Any:
        mp = self.mp
        if len(terms) > 1 and any(mp.isinf(term) for term in terms):
            raise Undefined
        sizes = [abs(term) for term in terms if term != 0]
        if sizes and not any(mp.isinf(size) for size in sizes):
            most, least = max(sizes), min(sizes)
            self.scale = max(self.scale, most)
            gap = (mp.mag(most) - mp.mag(least)) * 0.30103
            if gap > self.digits - 2 * SPARE and self.digits < MOST_DIGITS:
                raise Precision(min(MOST_DIGITS, max(4 * self.digits, int(gap) + DIGITS)))
        return (
            self.checked(mp.fsum(terms))
            if len(terms) > 2
            else self.checked(terms[0] + terms[-1] if len(terms) == 2 else terms[0])
        )

    def raised(self, base: Any, exponent: Any, written: Node) -> Any:
        mp = self.mp
        if base == 0:
            if mp.re(exponent) <= 0:
                raise Undefined
            return mp.mpf(0)
        if mp.isinf(base) or mp.isinf(exponent):
            raise Undefined
        size = abs(exponent) * abs(mp.mag(base)) * 0.30103
        if size > LARGEST and abs(base) != 1:
            raise too_large("a power")
        odd = self._odd_root(base, written)
        if odd is not None:
            return odd
        if mp.isint(exponent) and abs(exponent) < 10**6:
            return self.checked(base ** int(exponent))
        # A power near 1 (an exponent near 0): the difference must not be lost.
        small = -(mp.mag(exponent) + mp.mag(mp.log(base)) if base != 1 else 0) * 0.30103
        if small > self.digits - 2 * SPARE and self.digits < MOST_DIGITS:
            raise Precision(min(MOST_DIGITS, 4 * self.digits))
        if not isinstance(base, mp.mpc) and base < 0:
            self.real = False
        return self.checked(mp.power(base, exponent))

    def _odd_root(self, base: Any, written: Node) -> Any:
        """A negative number to the power of p/q with q odd is real, as schools have it."""
        if isinstance(base, self.mp.mpc) or base >= 0:
            return None
        try:
            exponent = fold(written)
        except NotExact:
            return None
        if exponent.denominator == 1 or exponent.denominator % 2 == 0:
            return None
        size = self.mp.power(-base, self.mp.mpf(exponent.numerator) / exponent.denominator)
        return -size if exponent.numerator % 2 else size

    def called(self, node: Call) -> Any:
        mp, name = self.mp, node.name
        before = self.degrees
        self.degrees = before or name in ("sin", "cos", "tan", "cot", "sec", "csc")
        arguments = [self.at(argument) for argument in node.arguments]
        self.degrees = before
        if _UNKNOWN.match(name):
            return self.unknown(name, arguments)
        first = arguments[0]
        if any(mp.isinf(argument) for argument in arguments):
            raise Undefined
        if name == "degrees":
            return first * mp.pi / 180 if before else first
        if name in ("exp", "sinh", "cosh", "tanh", "coth"):
            if abs(mp.re(first)) > LARGEST * 2:
                raise too_large("a power")
        elif mp.mag(first) > 4 * self.digits and name not in _ANY_SIZE:
            raise too_large("an argument")
        if name in _NEEDS_REAL and any(isinstance(argument, mp.mpc) for argument in arguments):
            raise Undefined
        if mp.mag(first) < -(self.digits - 2 * SPARE) * 3.4 / 2 and first != 0 and self.digits < MOST_DIGITS:
            raise Precision(min(MOST_DIGITS, 4 * self.digits))
        try:
            return self._function(name, arguments)
        except (ZeroDivisionError, ValueError, OverflowError) as error:
            raise Undefined from error

    def unknown(self, name: str, arguments: list[Any]) -> Any:
        """A function that nobody knows, or a sum nobody adds up: any generic one will do."""
        mp, seed = self.mp, sum(map(ord, name))
        finite = [_FAR * mp.sign(one) if mp.isinf(one) else one for one in arguments]
        return mp.sin(seed * mp.fsum((i + 2) * one for i, one in enumerate(finite)) + seed) + mp.sqrt(seed)

    def _function(self, name: str, arguments: list[Any]) -> Any:
        mp, first = self.mp, arguments[0]
        simple = _SIMPLE.get(name)
        if simple is not None and len(arguments) == 1:
            if name in ("sqrt", "ln", "log") and not isinstance(first, mp.mpc) and first < 0:
                self.real = False
            if first == 0 and name in ("ln", "log", "cot", "csc", "coth"):
                raise Undefined
            return getattr(mp, simple)(first)
        match name, arguments:
            case "log", (base, argument):
                if base in (0, 1) or argument == 0:
                    raise Undefined
                return mp.log(argument) / mp.log(base)
            case "lg", (argument,):
                return mp.log(argument) / mp.log(10)
            case "root", (degree, radicand):
                if mp.isint(degree) and int(degree) % 2 and not isinstance(radicand, mp.mpc) and radicand < 0:
                    return -mp.power(-radicand, 1 / degree)
                return mp.power(radicand, 1 / degree)
            case "factorial", (argument,):
                if abs(argument) > MAX_GAMMA:
                    raise too_large("a factorial")
                return mp.gamma(argument + 1)
            case "binom", (n, k):
                if max(abs(n), abs(k)) > MAX_GAMMA:
                    raise too_large("a binomial")
                return mp.binomial(n, k)
            case (("max" | "min"), _):
                return (max if name == "max" else min)(arguments)
        raise Undefined


_UNKNOWN = re.compile(r"[A-Za-z](?:_.*)?$|\\")
_FAR = 12345
"""In the place of an infinite bound."""
_ANY_SIZE = names("sqrt root log ln lg abs max min")
_NEEDS_REAL = ("floor", "ceil", "max", "min", "gcd", "lcm", "sgn")
_SIMPLE = {
    name: name for name in names("sqrt exp sin cos tan cot sec csc sinh cosh tanh coth floor ceil arg")
}
_SIMPLE |= {
    "ln": "ln",
    "log": "ln",
    "abs": "fabs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "sgn": "sign",
}
_SIMPLE |= {"Re": "re", "Im": "im"}
