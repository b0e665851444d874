"""How prompts of a preflight do by source, and those with images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol


class Judged(Protocol):
    """A group's row: `facts.Row`."""

    source: str
    correct: list[float]
    images: int


def known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def by_source(rows: Sequence[Judged], differing: Sequence[bool]) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(row.source for row in rows):
        own = [(row, differs) for row, differs in zip(rows, differing, strict=True) if row.source == name]
        out[name] = share(own)
    return out


def share(own: list[tuple[Judged, bool]]) -> dict[str, float]:
    return {
        "prompts": len(own),
        "signal": sum(differs for _, differs in own),
        "correct": mean([value for row, _ in own for value in known(row.correct)]),
    }


def seen(rows: Sequence[Judged], differing: Sequence[bool]) -> dict[str, float]:
    own = [(row, differs) for row, differs in zip(rows, differing, strict=True) if row.images]
    return share(own) if 0 < len(own) < len(rows) else {}
