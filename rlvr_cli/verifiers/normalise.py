"""An answer as written -> what it says: clutter, units, percent sign and `x =` taken off.

Also the refusals: an answer that names several values, or that costs more to compute than an
answer may, is refused before any algebra system sees it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.exact import INTEGER, MAX_ARGUMENT, evaluate, too_large
from rlvr_cli.verifiers.extract import Rejected

MAX_EXPONENT = 10_000
"""In an expression that is not rational; above it sympy hangs."""

_UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": r"\div ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "°": r"^\circ",
    }
    | {"²": "^2", "³": "^3", "½": r"\frac12", "≤": r"\le ", "≥": r"\ge ", "√": r"\sqrt"}
    | dict.fromkeys("\u00a0\u2009\u202f\u200b", " ")
)
# \mathrm{e} is a number and \mathrm{cm} a unit.
_TEXT = r"(?:\\(?:text(?:bf|it|rm)?|mbox)\s*|\\math(?:rm|bf)\s*(?=\{[A-Za-z ]{2}))"
_UNITS = (
    r"degrees?|deg|radians?|rad|percent|cents?|dollars?|euros?|pounds?|usd|mm|cm|km|meters?|metres?|centimeters?"
    r"|kilometers?|inch(?:es)?|in|ft|feet|foot|yards?|yd|miles?|mi|mph|kph|kg|mg|grams?|kilograms?|lbs?|oz|ounces?"
    r"|ml|liters?|litres?|gallons?|seconds?|secs?|sec|minutes?|mins?|min|hours?|hrs?|hr|days?|weeks?|months?|years?"
    r"|units?|square|cubic|sq|per|ways?|people|apples|eggs|points?|times|pm|am"
)
_DROP = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|[bB]igg?[lr]?)(?![A-Za-z])|\\[!]|\\?\$|\\[()\[\]]|[€£\x00]"
    r"|\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![A-Za-z])"
)
_SPACE = re.compile(r"\\[,;: ]|\\q?quad(?![A-Za-z])|~|\s+")
_DIGIT_SPACE = re.compile(r"(?<=[0-9])\\,(?=[0-9]{3})")
_ONE_LETTER = re.compile(r"\\mathrm\s*\{([a-zA-Z])\}")
_FRAC = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_WRAPPED = re.compile(rf"{_TEXT}\{{([^{{}}]*)\}}")
# (?:\s*/)?\s* and not \s*/?\s*: with two ways to match a space, m words cost 2^m steps.
_TEXT_UNIT = re.compile(rf"(?<=[^\s])(?:(?:\s*/)?\s*{_TEXT}\{{[^{{}}0-9]*\}}(?:\s*\^\s*\{{?-?[0-9]\}}?)?)+$")
_BARE_UNIT = re.compile(
    rf"([0-9}})])(?:(?:\s*/)?\s*\b(?:{_UNITS})\b\.?(?:\s*\^\s*\{{?[0-9]\}}?)?)+$", re.IGNORECASE
)
_BARE_UNIT_GLUED = re.compile(r"([0-9])(?:cm|mm|km|kg|mph|ft|ml)$")
_PERCENT = re.compile(r"\s*(?:\\?%|\bper ?cent)$", re.IGNORECASE)
_VARIABLE = re.compile(r"(?:([A-Za-z]|\\[a-z]+)(?:_(?:[A-Za-z0-9]|\{\w+\}))?)\s*=\s*(?=[^=]+$)")
_LETTER = re.compile(r"\(?([A-Z])\)?")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]{3,}")

_HEDGE = re.compile(
    r"(?<![A-Za-z\\])(?:or|either|maybe|perhaps|possibly|alternatively)(?![A-Za-z])|\\(?:lor|vee|mid)\b|\|\|",
    re.I,
)
_SEVERAL = re.compile(r"\\pm|\\cup|,|;|(?<![A-Za-z])and(?![A-Za-z])")
_CODE = re.compile(r"__|(?<![A-Za-z\\])(?:import|lambda|exec|eval|print|system|def|return)(?![A-Za-z])|[`#]")
_UNEVALUATED = re.compile(r"\\(sum|prod|int|iint|oint|lim|bigcup|bigcap)(?![A-Za-z])")
_BIG_CALL = re.compile(r"([0-9]+)\s*\)?\s*!|\\[dt]?binom\s*\{?\s*([0-9]+)")
_TOWER = re.compile(r"\^\s*[A-Za-z0-9]\s*\^")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says."""

    text: str
    """LaTeX without clutter."""
    percent: bool = False
    """It ended in a percent sign, which `text` no longer has."""
    variable: str | None = None
    """The x of `x = 5`; `text` is the 5."""
    word: str | None = None
    """If the answer is a word (lower-cased) or one capital letter and not an expression."""
    value: Fraction | None = None
    """If it is a rational number."""


def _tidy(text: str) -> str:
    text = text.translate(_UNICODE).replace("{,}", ",")
    text = _ONE_LETTER.sub(r"\1", _DIGIT_SPACE.sub(",", text))
    text = _SPACE.sub(" ", _FRAC.sub(r"\\frac", _DROP.sub("", text)))
    return text.strip(" ").rstrip(".,;: ").strip()


def _as_word(text: str, wrapped: bool) -> str | None:
    letter = _LETTER.fullmatch(text)
    if letter:
        return letter.group(1)
    return text.lower() if _WORDS.fullmatch(text) or (wrapped and text.isalpha()) else None


@lru_cache(maxsize=8192)
def read(written: str) -> Answer:
    """Rejected where a number in it is too large to compute."""
    if INTEGER.fullmatch(written):
        return Answer(text=written, value=Fraction(int(written)))
    text = _tidy(written)
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped:
        text = _tidy(wrapped.group(1))
    word = _as_word(text, bool(wrapped))
    if word is not None:
        return Answer(text=text, word=word)
    text, signs = _PERCENT.subn("", text)
    text = _TEXT_UNIT.sub("", text)
    text = _BARE_UNIT_GLUED.sub(r"\1", _BARE_UNIT.sub(r"\1", text)).strip()
    variable = _VARIABLE.match(text)
    if variable:
        text = text[variable.end() :].strip()
    text, more = _PERCENT.subn("", text)
    # A percent sign inside a list is dropped: math-verify cannot read one (see math.py).
    text = text.replace("\\%", "").replace("%", "").strip()
    return Answer(
        text=text,
        percent=bool(signs or more),
        variable=variable.group(1) if variable else None,
        value=evaluate(text),
    )


def _exponents(text: str) -> list[str]:
    """What stands after each ^, braces taken off."""
    found = []
    for start in (match.end() for match in re.finditer(r"\^\s*", text)):
        depth, end = 0, start
        while end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth <= 0:
                break
        found.append(text[start:end].removeprefix("{").removesuffix("}"))
    return found


def refuse_costly(text: str) -> None:
    """Rejected where an expression would keep an algebra system busy for its own sake."""
    if _TOWER.search(text):
        raise too_large("a tower of exponents")
    for exponent in _exponents(text):
        value = evaluate(exponent)
        if value is not None and abs(value) > MAX_EXPONENT:
            raise too_large("an exponent")
    for called in _BIG_CALL.finditer(text):
        if int(called.group(1) or called.group(2)) > MAX_ARGUMENT:
            raise too_large("a factorial or binomial")


def refuse(written: str, gold: str) -> None:
    """Rejected where an answer is code, hedged, contradicts itself or leaves the work undone."""
    if _CODE.search(written):
        raise Rejected(Reason.refused, "not a mathematical answer", written)
    several = _SEVERAL.search(gold) or _HEDGE.search(gold)
    if _HEDGE.search(written) and not several:
        raise Rejected(Reason.refused, "several alternatives where one answer is asked for", written)
    undone = {match.group(1) for match in _UNEVALUATED.finditer(written)}
    if undone and not undone <= {match.group(1) for match in _UNEVALUATED.finditer(gold)}:
        raise Rejected(Reason.refused, "an operator is left to evaluate", written)
    if "=" in written:
        values = {value for value in map(evaluate, _tidy(written).split("=")) if value is not None}
        if len(values) > 1:
            raise Rejected(Reason.refused, "the two sides of = differ", written)
