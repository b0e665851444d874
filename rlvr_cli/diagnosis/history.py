"""The recorded rows of a run's present stage, as rules look at them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

Row = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What rules must know of the recipe as it stands in a stage."""

    max_tokens: int
    grouped: bool = True
    """Advantages compare the samples of a group, so that a group of equals teaches nothing."""
    first_verifier: str = "the first verifier"
    second_verifier: str | None = None


def finite(row: Mapping[str, Any]) -> Row:
    """The numbers of a row: NaN and infinity, written as null, are no values of their metrics."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


class History:
    """Metrics by name over the steps of a stage, and the evaluations of the whole run."""

    def __init__(self, window: int, context: Context) -> None:
        self.window = window
        self.context = context
        self.rows: list[Row] = []
        self._columns: dict[str, list[float]] = {}
        self.evaluations: dict[str, list[Row]] = {}
        self.staged = False
        """Another stage has begun since the run did."""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)

    def enter(self, context: Context) -> None:
        """Another stage: other prompts and lengths are no signs of anything, so its own start counts."""
        self.context, self.rows, self._columns, self.staged = context, [], {}, True

    def first(self, name: str) -> list[float]:
        return self._columns.get(name, [])[: self.window]

    def last(self, name: str) -> list[float]:
        """The newest values, one window of them; empty until there are so many."""
        values = self._columns.get(name, [])
        return values[-self.window :] if len(values) >= self.window else []

    def count(self, name: str) -> int:
        return len(self._columns.get(name, []))

    def values(self, name: str) -> list[float]:
        return self._columns.get(name, [])

    def now(self, name: str) -> float | None:
        """Median of the newest window."""
        values = self.last(name)
        return median(values) if values else None

    def change(self, name: str) -> tuple[float, float] | None:
        """Medians of the first and of the newest window; None until the two do not overlap."""
        if self.count(name) < 2 * self.window:
            return None
        return median(self.first(name)), median(self.last(name))

    def has_risen(self, name: str, errors: float = 2.0) -> bool:
        """Whether the newest window's mean is above the first one's by so many standard errors."""
        first, last = self.first(name), self.last(name)
        if self.count(name) < 2 * self.window:
            return False
        return rise(first, last) > errors

    @property
    def steps(self) -> str:
        """`steps 17 to 24`: those of the newest window."""
        recent = self.rows[-self.window :]
        return f"steps {recent[0]['step']:.0f} to {recent[-1]['step']:.0f}"

    @property
    def length(self) -> int:
        """Steps from the first of the stage to the newest."""
        return int(self.rows[-1]["step"] - self.rows[0]["step"])


def rise(before: list[float], after: list[float]) -> float:
    """Welch's t of two samples: difference of the means in standard errors."""
    difference = fmean(after) - fmean(before)
    error = math.sqrt(_variance(before) / len(before) + _variance(after) / len(after))
    if error < 1e-12:
        return math.copysign(math.inf, difference) if abs(difference) > 1e-12 else 0.0
    return difference / error


def _variance(values: list[float]) -> float:
    """Of a sample; `statistics.variance` is exact in fractions and a hundred times slower."""
    middle = fmean(values)
    return sum((v - middle) ** 2 for v in values) / (len(values) - 1)


def wilson(hits: float, of: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927); (0, 1) without any trial."""
    if of <= 0:
        return 0.0, 1.0
    share = hits / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
