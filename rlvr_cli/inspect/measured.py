"""What `rlvr inspect weights` has found, weight by weight and taken together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from rlvr_cli.inspect.changed import jaccard, jaccard_at_random
from rlvr_cli.inspect.entries import Compared
from rlvr_cli.inspect.spectra import Directions, Options
from rlvr_cli.tracking.journal import jsonable


@dataclass(frozen=True)
class Weight:
    """One weight in all models."""

    name: str
    layer: int | None
    kind: str
    shape: tuple[int, ...]
    entries: Compared
    directions: list[Directions] = field(default_factory=list)
    """One for each model, of finite matrices of layers; or none."""
    top: list[float] = field(default_factory=list)
    """The largest singular values of the base, where there are directions."""
    principal_not_low: float = math.nan
    """Share of its entries that is principal and not small, where there are directions."""

    @property
    def counted(self) -> bool:
        """Whether it is a matrix of a layer: what shares of a whole model are about."""
        return self.layer is not None and len(self.shape) > 1

    def sparsity(self, model: int) -> float:
        """Share of entries that are the same as bf16."""
        return 1 - self.entries.models[model].changed / self.entries.size if self.entries.size else math.nan

    def as_json(self, models: range) -> dict[str, Any]:
        entries = self.entries
        found: dict[str, Any] = {
            "name": self.name,
            "layer": self.layer,
            "kind": self.kind,
            "shape": list(self.shape),
            "sparsity": [self.sparsity(model) for model in models],
            "relative_change": [relative([self], model) for model in models],
            "row_dispersion": [entries.models[model].rows for model in models],
            "column_dispersion": [entries.models[model].columns for model in models],
            "not_finite": [entries.models[model].not_finite for model in models],
            "consensus": entries.consensus,
        }
        if self.directions:
            found |= {"base_top": self.top, "principal_not_low_at_random": self.principal_not_low}
            found |= {"directions": [asdict(each) for each in self.directions]}
        return found


def relative(weights: list[Weight], model: int) -> float:
    """Norm of the difference over the norm of the base, of all entries of these weights."""
    base = sum(weight.entries.square for weight in weights)
    return (
        math.sqrt(sum(weight.entries.models[model].square for weight in weights) / base) if base else math.nan
    )


@dataclass(frozen=True)
class Total:
    """Several weights taken together: entry counts are summed, other numbers averaged over the weights."""

    weights: list[Weight]

    @property
    def size(self) -> int:
        return sum(weight.entries.size for weight in self.weights)

    def changed(self, model: int) -> int:
        return sum(weight.entries.models[model].changed for weight in self.weights)

    def sparsity(self, model: int) -> float:
        return 1 - self.changed(model) / self.size if self.size else math.nan

    def kept_as_stored(self, model: int) -> float:
        """Share of entries that are the same number as stored."""
        moved = sum(weight.entries.models[model].moved for weight in self.weights)
        return 1 - moved / self.size if self.size else math.nan

    def mean(self, model: int, number: Callable[[Directions], float]) -> float:
        """Of a number of the directions, over the weights that have it."""
        return mean_of([number(weight.directions[model]) for weight in self.weights if weight.directions])

    def jaccard(self, i: int, j: int) -> tuple[float, float]:
        """Of the changed entries of two models, and what it would be at random at their rates."""
        both = sum(weight.entries.both[i, j] for weight in self.weights)
        first, second = self.changed(i), self.changed(j)
        return jaccard(both, first, second), jaccard_at_random(first / self.size, second / self.size)

    def consensus(self) -> list[float]:
        """Shares of entries that 0, 1, ... of the models have changed."""
        columns = zip(*(weight.entries.consensus for weight in self.weights), strict=True)
        return [sum(column) / self.size for column in columns]


def mean_of(values: list[float]) -> float:
    """Of those that are numbers."""
    there = [value for value in values if math.isfinite(value)]
    return sum(there) / len(there) if there else math.nan


@dataclass
class Measured:
    """All that was found."""

    base: str
    models: list[str]
    options: Options | None
    """How directions were looked at; None: they were not."""
    weights: list[Weight] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What was left out, and what to know when reading the numbers; a line each."""

    def total(self) -> Total:
        """The matrices of all layers; norms, biases and embeddings are left out, as in the paper."""
        return Total([weight for weight in self.weights if weight.counted])

    def groups(self) -> Iterator[tuple[str, Total]]:
        """The kinds of weights, matrices of layers first, each over all layers."""
        kinds: dict[tuple[bool, str], list[Weight]] = {}
        for weight in self.weights:
            kinds.setdefault((not weight.counted, weight.kind), []).append(weight)
        for outside in (False, True):
            yield from ((kind, Total(all_)) for (out, kind), all_ in kinds.items() if out is outside)

    def pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.models)), 2))

    def as_json(self) -> dict[str, Any]:
        """Plain values; what could not be measured is null."""
        total, models = self.total(), range(len(self.models))
        whole: dict[str, Any] = {
            "base": self.base,
            "models": self.models,
            "options": None if self.options is None else asdict(self.options),
            "sparsity": [total.sparsity(model) for model in models],
            "kept_as_stored": [total.kept_as_stored(model) for model in models],
            "jaccard": [
                {"models": [i, j], "found": found, "at_random": random}
                for i, j in self.pairs()
                for found, random in [total.jaccard(i, j)]
            ]
            if total.size
            else [],
            "consensus": total.consensus() if total.size else [],
            "told": self.told,
            "weights": [weight.as_json(models) for weight in self.weights],
        }
        return dict(jsonable(whole))
