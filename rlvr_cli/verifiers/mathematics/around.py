"""What stands around a value: unit, money, percent sign, base, the colon of a ratio or a time of day."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from rlvr_cli.verifiers.mathematics.nodes import symbols
from rlvr_cli.verifiers.mathematics.structure import Tokens, split
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable
from rlvr_cli.verifiers.mathematics.units import CERTAIN, LETTERS, MULTIPLES, SYMBOLS_TOO, WORDS, known
from rlvr_cli.verifiers.mathematics.values import (
    Based,
    Expression,
    Number,
    Percentage,
    Quantity,
    Ratio,
    Time,
    Value,
)

Inner = Callable[[Tokens, int], Value]
LONGEST_UNIT = 24
"""Tokens."""
_PERCENT = ("percent", "pct", "percents", "percentage", "per cent")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BASES |= {"sixteen": 16, "twelve": 12, "binary": 2, "octal": 8, "hex": 16}
_HALVES = {"am": "am", "pm": "pm", "a.m.": "am", "p.m.": "pm", "a.m": "am", "p.m": "pm"}


def _written(row: Tokens) -> str:
    return "".join((" " if token.spaced else "") + token.text for token in row).strip()


def clock(row: Tokens) -> Time | None:
    """`3:30`, `03:30 p.m.`: minutes of two digits below 60."""
    if len(row) < 3 or row[1].text != ":" or row[0].kind != "number" or row[2].kind != "number":
        return None
    hours, minutes = row[0].text, row[2].text
    if not (re.fullmatch("[0-9]{1,2}", hours) and re.fullmatch("[0-5][0-9]", minutes) and int(hours) < 25):
        return None
    half = _written(row[3:]).lower().replace(" ", "")
    if half and half not in _HALVES:
        return None
    return Time(int(hours), int(minutes), _HALVES.get(half, ""))


def ratio(row: Tokens, depth: int, inner: Inner) -> Ratio | None:
    parts, colons = split(row, lambda token: token.text == ":")
    if not colons or not all(parts):
        return None
    return Ratio(tuple(inner(part, depth) for part in parts))


def based(row: Tokens) -> Based | None:
    """`1010_2`, `(A3)_{16}`, `101_{\\text{two}}`, `1010 base 2`."""
    at = next((i for i, token in enumerate(row) if token.text == "_" or token.text.lower() == "base"), None)
    if at is None or at == 0 or at + 1 >= len(row):
        return None
    head = [token for token in row[:at] if token.text not in ("(", ")", "{", "}")]
    tail = [token for token in row[at + 1 :] if token.text not in ("(", ")", "{", "}")]
    if len(tail) != 1 or not all(token.kind in ("number", "letter", "run") for token in head):
        return None
    if row[at].text == "_" and len(row) - at - 1 > 1 and row[at + 1].text != "{":
        return None
    digits = "".join(token.text for token in head).upper()
    written = tail[0].text.lower().strip()
    base = (
        int(written) if re.fullmatch("[0-9]{1,2}", written) else _BASES.get(written.removeprefix("base "), 0)
    )
    if not any(token.kind == "number" for token in head) or not 2 <= base <= 36:
        return None
    if not digits.isalnum() or any(int(digit, 36) >= base for digit in digits):
        return None
    return Based(digits.lstrip("0") or "0", base)


def percentage(row: Tokens, depth: int, inner: Inner) -> Value | None:
    for words in (1, 2):
        tail = row[-words:]
        signed = words == 1 and tail[0].text == "%"
        if len(row) > words and (signed or _written(tail).lower() in _PERCENT):
            value = inner(row[:-words], depth)
            return Percentage(value) if isinstance(value, Number | Expression) else None
    at = next((i for i, token in enumerate(row) if token.text == "%"), 0)
    after = row[at + 1 :]
    if at and after and all(token.kind in ("text", "run") for token in after):  # 50\% \text{ of it}
        value = inner(row[: at + 1], depth)
        return Quantity(value, _written(after))
    return None


def quantity(row: Tokens, depth: int, inner: Inner, letter_units: bool) -> Value | None:
    money = [token.text for token in row if token.kind == "money"]
    if money:
        rest = [token for token in row if token.kind != "money"]
        if len(money) > 1 or not rest:
            raise Unreadable("several signs of money")
        value = inner(rest, depth)
        return value if isinstance(value, Quantity) else Quantity(value, money[0])
    angle = _angle(row)
    if angle is not None:
        return angle
    row = _flat_unit(row)
    start = _unit_start(row, letter_units)
    if start is None:
        return None
    tail = row[start:]
    multiple = MULTIPLES.get(tail[0].text.lower()) if tail[0].kind in ("text", "run") else None
    if multiple is None and tail[0].kind == "text":
        first, _, behind = tail[0].text.partition(" ")
        multiple = MULTIPLES.get(first.lower())
        tail = [tail[0]._replace(text=behind), *tail[1:]] if multiple else tail
    elif multiple is not None:
        tail = tail[1:]
    value = inner(row[:start], depth)
    if isinstance(value, Expression) and symbols(value.tree) and not known(_written(tail)):
        raise Unreadable("words behind symbols")  # n \\text{ even}
    if multiple is not None:
        if not isinstance(value, Number):
            raise Unreadable("a number word behind an expression")
        value = Number(value.value * multiple)
    unit = _written([token for token in tail if token.text not in "{}"]).replace("\\degree", "degree")
    return Quantity(value, unit) if unit else value


def _flat_unit(row: Tokens) -> Tokens:
    """`\\frac{\\text{m}}{\\text{s}}` at the end as `m/s`."""
    if len(row) < 8 or row[-7].text != r"\frac":
        return row
    tail = row[-6:]
    if (
        tail[1].kind != "text"
        or tail[4].kind != "text"
        or [tail[i].text for i in (0, 2, 3, 5)] != ["{", "}", "{", "}"]
    ):
        return row
    return [*row[:-7], tail[1]._replace(spaced=True), Token("symbol", "/"), tail[4]]


def _angle(row: Tokens) -> Quantity | None:
    """`63^\\circ 45'`, `63^\\circ 45' 30''`."""
    kinds = "".join(
        "n" if token.kind == "number" else {r"\degree": "d", "'": "'"}.get(token.text, "?") for token in row
    )
    if not re.fullmatch("-?nd(n'(n'')?|n'n)", kinds):
        return None
    parts = [
        Fraction(token.text) for token in row if token.kind == "number" and "e" not in token.text.lower()
    ]
    if len(parts) < 2:
        return None
    value = sum((part / 60**i for i, part in enumerate(parts)), Fraction(0))
    return Quantity(Number(value), "degree")


def _unit_start(row: Tokens, letter_units: bool) -> int | None:
    """Where the unit at the end of `row` begins."""
    for start in range(max(1, len(row) - LONGEST_UNIT), len(row)):
        if _is_value_end(row[start - 1]) and _is_unit(row[start:], row[start - 1], letter_units):
            return start
    return None


def _is_value_end(token: Token) -> bool:
    return token.kind in ("number", "letter") or token.text in (
        *("}", ")", "|", r"\pi", r"\degree", "]", "!", r"\infty"),
    )


def _is_unit(tail: Tokens, before: Token, letter_units: bool) -> bool:
    if tail[0].text == r"\degree":
        rest = tail[1:]
        return not rest or (len(rest) == 1 and rest[0].text in ("C", "F"))
    certain, expected, slash = False, True, False
    others = any(token.kind == "run" and token.text in WORDS - SYMBOLS_TOO for token in tail[1:])
    i = 0
    while i < len(tail):
        token = tail[i]
        if expected:
            named = _unit_name(token) and (i > 0 or _begins_unit(token, before, letter_units or others))
            if not named and not (token.kind == "letter" and token.text in LETTERS):
                return False
            certain |= named
            expected = False
        elif token.text == "^":
            i = _exponent_end(tail, i + 1)
            if not i:
                return False
            continue
        elif token.text in ("/", "*") and (token.kind == "symbol"):
            expected, slash = True, slash or token.text == "/"
        elif token.text == "." and i == len(tail) - 1:
            pass
        elif token.kind in ("text", "run"):
            expected = True
            continue
        else:
            return False
        i += 1
    if expected:
        return False
    single = tail[0].kind == "letter" and (len(tail) == 1 or tail[1].text == "^")
    spaced = tail[0].spaced and before.kind == "number"
    return certain or (slash and spaced) or (single and letter_units and spaced)


def _begins_unit(token: Token, before: Token, letter_units: bool) -> bool:
    """Short bare words may be symbols (`2\\pi hr`, `\\frac12 mg`), if not those that few formulas have."""
    if token.kind != "run" or len(token.text) >= 4:
        return True
    if before.kind != "number":
        return token.text in CERTAIN and token.spaced and before.kind != "letter"
    return token.text in CERTAIN or (token.spaced and (letter_units or token.text not in SYMBOLS_TOO))


def _unit_name(token: Token) -> bool:
    """Whether the token is surely (part of) a unit."""
    if token.kind == "text":
        powers = re.sub(r"\^-?[0-9]", "", token.text)  # m/s^2
        return token.text not in ("e", "i", "d") and not any(letter.isdigit() for letter in powers)
    if token.kind == "symbol":
        return token.text.isalpha() and not token.text.isascii()
    if token.kind != "run":
        return False
    if token.text not in WORDS and token.text.lower() not in WORDS and token.text.lower() not in MULTIPLES:
        return len(token.text) > 4 and token.spaced
    return True


def _exponent_end(tail: Tokens, at: int) -> int:
    """The index behind an exponent that is a small integer; 0 where there is none."""
    texts = [token.text for token in tail[at : at + 4]]
    for length, form in ((1, "[0-9]"), (2, "-[0-9]"), (3, r"\{[0-9]\}"), (4, r"\{-[0-9]\}")):
        if re.fullmatch(form, "".join(texts[:length])) and len(texts) >= length:
            return at + length
    return 0
