r"""A typed value -> LaTeX: the way back from `read`, for self-tests that change values and write them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rlvr_cli.verifiers.mathematics.nodes import Call, Const, Node, Num, Power, Product, Sum, Sym
from rlvr_cli.verifiers.mathematics.synonyms import FUNCTIONS, names
from rlvr_cli.verifiers.mathematics.values import (
    Based,
    Expression,
    Interval,
    Letter,
    Listing,
    Matrix,
    Named,
    Number,
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

_CONSTANTS = {"pi": r"\pi", "e": "e", "i": "i", "infinity": r"\infty"}
_FUNCTIONS = FUNCTIONS | names("coth lg det gcd max min arg")
_SIGNS = {"=": "=", "<": "<", ">": ">", "<=": r"\le", ">=": r"\ge", "!=": r"\ne", "~": r"\approx"}
_MARKS = {"∠": r"\angle ", "△": r"\triangle ", "→": r"\overrightarrow ", "↔": r"\overleftrightarrow "}


class Unwritable(Exception):
    """A value that has no LaTeX here."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a value is written; every style says the same."""

    fraction: str = r"\frac"
    spaced: bool = False
    sized: bool = False
    r"""With `\left` and `\right`."""

    def enclosed(self, opening: str, inside: str, closing: str) -> str:
        inside = f" {inside} " if self.spaced else inside
        left, right = (r"\left", r"\right") if self.sized else ("", "")
        return f"{left}{opening}{inside}{right}{closing}"

    def joined(self, sign: str, parts: list[str]) -> str:
        glue = f" {sign} " if self.spaced or sign.startswith("\\") else sign
        return (", " if self.spaced else ",").join(parts) if sign == "," else glue.join(parts)


PLAIN = Style()


def written(value: Value, style: Style = PLAIN) -> str:
    """Unwritable where there is no LaTeX for it."""

    def each(values: tuple[Value, ...]) -> list[str]:
        if any(isinstance(one, Listing) and not one.braces for one in values):
            raise Unwritable  # its commas would be the outer ones
        return [written(one, style) for one in values]

    match value:
        case Number(number, places):
            return numeral(number, places, style)
        case Expression(tree):
            return expression(tree, style)
        case Percentage(inner):
            return written(inner, style) + r"\%"
        case Quantity(inner, unit):
            return _measured(written(inner, style), unit)
        case Letter(letter):
            return letter
        case Word(text, _):
            return _MARKS[text[0]] + text[1:] if text[:1] in _MARKS else f"\\text{{{text}}}"
        case Based(digits, base):
            return f"{digits}_{{{base}}}"
        case Ratio(parts):
            return style.joined(":", each(parts))
        case Time(hours, minutes, half):
            return f"{hours}:{minutes:02d}" + (f"\\text{{ {half}}}" if half else "")
        case Tuple(items):
            return style.enclosed("(", style.joined(",", each(items)), ")")
        case Listing(items, True):
            return style.enclosed(r"\{", style.joined(",", each(items)), r"\}") if items else r"\emptyset"
        case Listing(items, False):
            return ", ".join(each(items))
        case Interval(low, high, low_closed, high_closed):
            inside = style.joined(",", each((low, high)))
            return style.enclosed("[" if low_closed else "(", inside, "]" if high_closed else ")")
        case Union(parts, minus):
            sets = [_set(part, style) for part in parts]
            taken = [_set(part, style) for part in minus]
            return r" \setminus ".join([style.joined(r"\cup", sets), *taken])
        case Matrix(rows, False):
            column, row = (" & ", r" \\ ") if style.spaced else ("&", r"\\")
            body = row.join(column.join(each(line)) for line in rows)
            return f"\\begin{{pmatrix}} {body} \\end{{pmatrix}}"
        case Named(name, inner):
            return style.joined("=", [name, written(inner, style)])
        case Relation(sides, signs) if all(sign in _SIGNS for sign in signs) and not _matrices(sides):
            texts = each(sides)
            return " ".join([texts[0], *(f"{_SIGNS[s]} {t}" for s, t in zip(signs, texts[1:], strict=True))])
        case Relation((left, rest, modulus), ("\\equiv", "mod")):
            return rf"{written(left, style)} \equiv {written(rest, style)} \pmod{{{written(modulus, style)}}}"
    raise Unwritable


def _matrices(sides: tuple[Value, ...]) -> bool:
    return any(isinstance(side, Matrix) for side in sides)  # 1/B is not how one writes an inverse


def numeral(number: Fraction, places: int = 0, style: Style = PLAIN) -> str:
    if number.denominator == 1 and not places:
        return str(number.numerator)
    if places and (number * 10**places).denominator == 1:
        digits = f"{abs(int(number * 10**places)):0{places + 1}d}"
        return f"{'-' if number < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return f"{'-' if number < 0 else ''}{style.fraction}{{{abs(number.numerator)}}}{{{number.denominator}}}"


def _measured(text: str, unit: str) -> str:
    if unit in ("degree", "degrees"):
        return text + r"^\circ"
    if unit == "$":
        return rf"\${text}"
    name, power, exponent = unit.partition("^")
    if "^" in exponent or "/" in exponent:
        raise Unwritable
    return f"{text}\\text{{ {name}}}{power}{exponent}"


def _set(value: Value, style: Style) -> str:
    if isinstance(value, Word):
        return rf"\mathbb{{{value.text[:1]}}}{value.text[1:]}"
    return written(value, style)


def expression(node: Node, style: Style = PLAIN) -> str:
    match node:
        case Num(value, places):
            return numeral(value, places, style)
        case Sym(name):
            return name
        case Const(name):
            return _CONSTANTS[name]
        case Sum(terms):
            texts = [expression(term, style) for term in terms]
            plus, minus = (" + ", " - ") if style.spaced else ("+", "-")
            return texts[0] + "".join(
                f"{minus}{t[1:]}" if t.startswith("-") else f"{plus}{t}" for t in texts[1:]
            )
        case Product(factors):
            return _product(factors, style)
        case Power(base, exponent):
            if exponent == Num(Fraction(-1)):
                return f"{style.fraction}{{1}}{{{expression(base, style)}}}"
            return f"{_atom(base, style)}^{{{expression(exponent, style)}}}"
        case Call(name, arguments):
            return _call(name, [expression(argument, style) for argument in arguments], arguments, style)
    raise Unwritable


def _product(factors: tuple[Node, ...], style: Style) -> str:
    sign = "-" if factors[0] == Num(Fraction(-1)) and len(factors) > 1 else ""
    above: list[Node] = []
    below: list[Node] = []
    for factor in factors[1:] if sign else factors:
        match factor:
            case Power(base, Num(exponent)) if exponent == -1:
                below.append(base)
            case _:
                above.append(factor)
    top = _factors(above, style) if above else "1"
    if below:
        inner = expression(below[0], style) if len(below) == 1 else _factors(below, style)
        plain = expression(above[0], style) if len(above) == 1 else top
        return f"{sign}{style.fraction}{{{plain}}}{{{inner}}}"
    return sign + top


def _factors(factors: list[Node], style: Style) -> str:
    text = ""
    for factor in factors:
        made = expression(factor, style)
        if isinstance(factor, Sum | Product) or made.startswith("-"):
            made = style.enclosed("(", made, ")")
        if text:
            mixed = made[0] in "0123456789." or made.startswith(style.fraction)  # 2 1/2 is no product
            text += r" \cdot " if mixed else " "
        text += made
    return text


def _atom(node: Node, style: Style) -> str:
    text = expression(node, style)
    simple = isinstance(node, Sym | Const) or (isinstance(node, Num) and text.isdigit())
    return text if simple else style.enclosed("(", text, ")")


def _call(name: str, texts: list[str], arguments: tuple[Node, ...], style: Style) -> str:
    first = texts[0]
    match name, len(texts):
        case "sqrt", 1:
            return rf"\sqrt{{{first}}}"
        case "root", 2:
            return rf"\sqrt[{first}]{{{texts[1]}}}"
        case "log", 2:
            return rf"\log_{{{first}}}" + style.enclosed("(", texts[1], ")")
        case "abs", 1:
            return rf"\left|{first}\right|"
        case "factorial", 1:
            return _atom(arguments[0], style) + "!"
        case "degrees", 1:
            return _atom(arguments[0], style) + r"^\circ"
        case "binom", 2:
            return rf"\binom{{{first}}}{{{texts[1]}}}"
        case "floor" | "ceil", 1:
            return rf"\l{name} {first} \r{name}"
    if name in _FUNCTIONS or len(name) == 1:
        called = f"\\{name}" if len(name) > 1 else name
        return called + style.enclosed("(", ",".join(texts), ")")
    raise Unwritable
