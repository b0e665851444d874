"""A program's encoded values (values.py), read in the host.

They are compared and shown as they came. Nothing is built of them whose cost the program could choose:
no sets, and no dicts but by text. Work is bounded by the size of the message, or of what is expected.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

SEQUENCES = ("list", "tuple")
SHOWN = 100
"""Characters of a value in a verdict's detail."""


def same(said: Any, meant: Any) -> bool:
    """Whether an encoded value equals `meant`, a JSON value, by Python's `==` with tuples read as lists.

    Keys of JSON objects are text: a number, a truth value or None as a key equals its JSON spelling.
    """
    if not isinstance(said, dict):
        return not isinstance(meant, list | dict) and bool(said == meant)
    if "plain" in said:
        return same(said["plain"], meant)
    kind, content = _one(said)
    if kind == "int":
        return isinstance(meant, int) and isinstance(content, str) and content == hex(meant)
    if kind in SEQUENCES and isinstance(meant, list):
        return _as_many(content, meant) and all(map(same, content, meant))
    if kind == "dict" and isinstance(meant, dict):
        return _as_many(content, meant) and _same_entries(content, meant)
    return False


def _one(said: dict[str, Any]) -> tuple[str, Any]:
    """What kind of value it is, and what it holds."""
    return next(iter(said.items()), ("", None))


def _as_many(content: Any, meant: Any) -> bool:
    return isinstance(content, list) and len(content) == len(meant)


def _same_entries(pairs: list[Any], meant: dict[str, Any]) -> bool:
    found = set()
    for pair in pairs:
        key = _key(pair[0]) if isinstance(pair, list) and len(pair) == 2 else None
        if key is None or key not in meant or not same(pair[1], meant[key]):
            return False
        found.add(key)
    return len(found) == len(meant)


def _key(said: Any) -> str | None:
    """A key as JSON has it; None where it can be none."""
    if isinstance(said, dict) and "plain" in said:
        said = said["plain"]
    if isinstance(said, str):
        return said
    return json.dumps(said) if said is None or isinstance(said, bool | int | float) else None


def json_value(said: Any) -> Any:
    """The JSON value, tuples as lists. ValueError where it is none."""
    if said is None or isinstance(said, bool | int | float | str):
        return said
    kind, content = _one(said) if isinstance(said, dict) else ("", None)
    if kind in SEQUENCES and isinstance(content, list):
        return [json_value(item) for item in content]
    if kind == "dict" and isinstance(content, list) and all(map(_named, content)):
        return {key: json_value(value) for key, value in content}
    raise ValueError(f"the value is no JSON: {shown(said)}")


def _named(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)


def shown(said: Any) -> str:
    """The beginning of a value, as Python writes it."""
    return _written(said, 0)[:SHOWN]


def _written(said: Any, depth: int) -> str:
    if not isinstance(said, dict):
        return json.dumps(said)[:SHOWN] if isinstance(said, str) and len(said) > SHOWN else repr(said)[:SHOWN]
    kind, content = _one(said)
    if depth > 9 or not isinstance(content, list):
        return "..." if kind != "handle" else "an object"
    if kind == "dict":
        pairs = [pair for pair in islice(content, SHOWN) if isinstance(pair, list) and len(pair) == 2]
        written = [f"{_written(key, depth + 1)}: {_written(value, depth + 1)}" for key, value in pairs]
        return "{" + ", ".join(written) + "}"
    inner = ", ".join(_written(item, depth + 1) for item in islice(content, SHOWN))
    if kind in SEQUENCES:
        return f"[{inner}]" if kind == "list" else f"({inner})"
    return f"{kind}({inner})"
