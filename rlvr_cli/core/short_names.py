"""Short names that still tell things apart: of keys, of values, of runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """`trainer.lr` -> `lr`: as many of a key's last parts as tell it from the others."""
    parts = {key: [part for part in re.split(r"[+~./@]", key) if part] for key in keys}
    return {key: _shortest(key, parts) for key in keys}


def _shortest(key: str, parts: dict[str, list[str]]) -> str:
    mine = parts[key]
    for count in range(1, len(mine)):
        if all(other[-count:] != mine[-count:] for name, other in parts.items() if name != key):
            return ".".join(mine[-count:])
    return ".".join(mine)


def text_of(value: Any) -> str:
    """A value as one writes it: 1e-06 is `1e-6`, 0.5 is `0.5`, None `null`, True `true`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return min(f"{value:.12g}", _with_exponent(value), key=len)
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    return str(value)


def _with_exponent(value: float) -> str:
    """0.001 -> `1e-3`, which is as people write rates."""
    digits, _, exponent = f"{value:.11e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if exponent else digits


def without_common_start(names: Sequence[str]) -> list[str]:
    """Names of several things without the words all begin with; words end in `/`, `_`, `,` or a space."""
    if len(names) < 2:
        return list(names)
    first, last = min(names), max(names)  # what these two share, all do
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    length = max(first[:same].rfind(mark) for mark in "/_, ") + 1
    return [name[length:] or name for name in names]
