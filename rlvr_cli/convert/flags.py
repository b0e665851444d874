"""`--key value ...` behind a program's name."""

from __future__ import annotations

from typing import Any

from rlvr_cli.convert.expansion import shown
from rlvr_cli.convert.given import literal
from rlvr_cli.core.errors import UserError


def flags(words: list[str], source: str) -> dict[str, Any]:
    """Flag without its dashes -> true, a value, or a list of several."""
    found: dict[str, list[str]] = {}
    current: str | None = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            current, equals, value = word[2:].partition("=")
            found[current] = [value] if equals else []
        elif current is None:
            raise UserError(f"{source}: '{shown(word)}' stands before the first --key; only these are read")
        else:
            found[current].append(word)
    return {key: _value(values) for key, values in found.items()}


def _value(words: list[str]) -> Any:
    if not words:
        return True
    return literal(words[0]) if len(words) == 1 else [literal(word.strip(",")) for word in words]
