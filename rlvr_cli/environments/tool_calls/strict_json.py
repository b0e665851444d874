"""JSON as its standard has it: no NaN, no number beyond a float, nothing that UTF-8 cannot spell.

`json` of the standard library takes more, and what it takes more breaks later, when a template prints it.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        _refuse(text[:20])
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_number)
NOT_READ = (ValueError, RecursionError)
"""What the functions here raise of a text that is no JSON; deep nesting is one."""


def loads(text: str) -> Any:
    """The value of a text."""
    return checked(_DECODER.decode(text))


def first(text: str, at: int = 0) -> tuple[Any, int]:
    """The value that begins at a position, and where it ends."""
    value, end = _DECODER.raw_decode(text, at)
    return checked(value), end


def checked(value: Any) -> Any:
    """A value of JSON's types; ValueError where it holds anything else."""
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError, a ValueError, of half a surrogate pair
    elif isinstance(value, list):
        for each in value:
            checked(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {str(key)[:20]} is no text")
            checked(key)
            checked(each)
    elif isinstance(value, float):
        _number(repr(value))
        if value != value:
            _refuse("NaN")
    elif value is not None and not isinstance(value, bool | int):
        raise ValueError(f"{type(value).__name__} is no type of JSON")
    return value


def complaint(error: BaseException) -> str:
    """What is wrong, on a line."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a surrogate pair"
    return str(error)[:100] if isinstance(error, ValueError) else "it is nested too deeply"


def cut_short(error: BaseException, text: str) -> bool:
    """Whether a text is the beginning of JSON and ends too early."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
