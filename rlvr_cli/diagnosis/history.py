"""The recorded rows of a run's present stage, as rules look at them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from rlvr_cli.diagnosis.statistics import Moments, rise
from rlvr_cli.schema import Recipe
from rlvr_cli.schema.first_verifiers import first_verifiers

Row = dict[str, float]
UNKNOWN = "<name>"
"""In keys to change, of verifiers where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What rules must know of the recipe as it stands in a stage."""

    max_tokens: int
    grouped: bool = True
    """Advantages compare the samples of a group, so that a group of equals teaches nothing."""
    first_verifier: str = UNKNOWN
    """The one that decides what is correct, of every source and row."""
    second_verifier: str | None = None
    extraction: str | None = None
    """How the first verifier finds the answer; None: it has no such setting."""
    source: str | None = None
    """The only entry of `data`; None: there are several."""
    samples: int = 32
    """Completions of a step, the refills of a filter not counted."""
    shares: bool = True
    """Scores of first verifiers are shares of 1. False: some are a user's own values, on any scale."""


def context_of(recipe: Recipe) -> Context:
    """Of a recipe as it stands in a stage."""
    firsts = {name for source in recipe.data.values() for name in first_verifiers(source)}
    first = next(iter(firsts)) if len(firsts) == 1 else UNKNOWN
    extraction = getattr(recipe.verifiers.get(first), "extraction", None)
    return Context(
        max_tokens=recipe.rollout.max_tokens,
        grouped=recipe.algorithm.advantage.needs_group,
        first_verifier=first,
        second_verifier=recipe.diagnosis.second_verifier,
        extraction=None if extraction is None else str(getattr(extraction, "value", extraction)),
        source=next(iter(recipe.data)) if len(recipe.data) == 1 else None,
        samples=recipe.batch.prompts_per_step * recipe.batch.group_size,
        shares=not any(map(_own_scale, recipe.verifiers.values())),
    )


def _own_scale(verifier: Any) -> bool:
    """Whether its scores may be any number: a user's function, or an environment's rewards as they are."""
    scale = getattr(verifier, "scale", None)
    return getattr(verifier, "wants_rows", False) or getattr(scale, "value", None) == "own"


def finite(row: Mapping[str, Any]) -> Row:
    """The numbers of a row: NaN and infinity, written as null, are no values of their metrics."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation of a bench within a run has found."""

    step: int
    score: float
    """avg@k: mean over the problems of the share of samples that are correct."""
    low: float | None
    """95% interval over problems."""
    high: float | None
    problems: Mapping[str, float] | None
    """Problem -> share of its samples that are correct; None: its result file is not there."""


class History:
    """Metrics by name over the steps of a stage, and the evaluations of the whole run."""

    def __init__(self, window: int, context: Context) -> None:
        self.window = window
        self.context = context
        self.rows: list[Row] = []
        self._columns: dict[str, list[float]] = {}
        self._sums: dict[str, list[tuple[float, float]]] = {}
        self.memory: dict[str, Any] = {}
        """What rules have worked out of the rows there are, for each other."""
        self.evaluations: dict[str, list[Evaluation]] = {}
        self.staged = False
        """Another stage has begun since the run did."""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.memory = {}
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)

    def evaluated(self, bench: str, row: Row, problems: Mapping[str, float] | None) -> None:
        """Take in an evaluation; one without a score (no verdicts) is none."""
        prefix = f"eval/{bench}/"
        score = next((value for name, value in row.items() if name.startswith(f"{prefix}avg@")), None)
        if score is not None:
            low, high = (row.get(f"{prefix}ci95_{end}") for end in ("low", "high"))
            found = Evaluation(step=int(row["step"]), score=score, low=low, high=high, problems=problems)
            self.evaluations.setdefault(bench, []).append(found)

    def enter(self, context: Context) -> None:
        """Another stage: other prompts and lengths are no signs of anything, so its own start counts."""
        self.context, self.rows, self._columns, self.staged = context, [], {}, True
        self._sums, self.memory = {}, {}

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

    def moments(self, name: str, start: int, stop: int) -> Moments:
        """Of the values from `start` to before `stop`; at once, however many they are."""
        sums = self._sums.setdefault(name, [(0.0, 0.0)])
        for value in self.values(name)[len(sums) - 1 :]:
            sums.append((sums[-1][0] + value, sums[-1][1] + value * value))
        count = stop - start
        total, squares = (after - before for before, after in zip(sums[start], sums[stop], strict=True))
        mean = total / count
        return Moments(count=count, mean=mean, variance=max(0.0, squares - total * mean) / (count - 1))

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
        if len(recent) == 1:
            return f"step {recent[0]['step']:.0f}"
        return f"steps {recent[0]['step']:.0f} to {recent[-1]['step']:.0f}"

    @property
    def length(self) -> int:
        """Steps from the first of the stage to the newest."""
        return int(self.rows[-1]["step"] - self.rows[0]["step"])
