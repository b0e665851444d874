"""Names of a sweep's runs: what differs between them, as it may stand in a path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from rlvr_cli.core.short_names import short_keys, text_of


def name_of(values: dict[str, Any], longest: int) -> str:
    """`lr1e-6_seed0` of {trainer.lr: 1e-6, seed: 0}; longer ones end in a part of their hash."""
    short = short_keys(list(values))
    name = "_".join(_joined(_safe(short[key]), _safe(text_of(value))) for key, value in values.items())
    return name if len(name) <= longest else _marked(name, values, longest)


def names_of(runs: Sequence[dict[str, Any]], longest: int) -> list[str]:
    """Of several; where two would be the same (`a/b` and `a-b`), all of these end in a part of their hash."""
    names = [name_of(values, longest) for values in runs]
    twice = {name for name in names if names.count(name) > 1}
    return [
        _marked(name, values, longest) if name in twice else name
        for name, values in zip(names, runs, strict=True)
    ]


def _safe(text: str) -> str:
    """As a path and the name of a run may hold it."""
    return re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.") or "none"


def _joined(key: str, value: str) -> str:
    return f"{key}{value}" if key[-1].isalpha() and value[0].isdigit() else f"{key}-{value}"


def _marked(name: str, values: dict[str, Any], longest: int) -> str:
    mark = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:8]
    return f"{name[: longest - 9]}-{mark}"
