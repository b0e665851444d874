"""`rlvr inspect weights`: models made of one base, compared with it weight by weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.inspect.changed import jaccard, jaccard_at_random
from rlvr_cli.inspect.entries import Compared, compare_entries
from rlvr_cli.inspect.folder import Folder, place


@dataclass(frozen=True)
class Weight:
    """One weight in all models."""

    name: str
    layer: int | None
    kind: str
    shape: tuple[int, ...]
    entries: Compared

    @property
    def counted(self) -> bool:
        """Whether it is a matrix of a layer: what shares of a whole model are about."""
        return self.layer is not None and len(self.shape) > 1

    def sparsity(self, model: int) -> float:
        """Share of entries that are the same as bf16."""
        return 1 - self.entries.models[model].changed / self.entries.size

    def relative_change(self, model: int) -> float:
        """Frobenius norm of the difference over that of the weight."""
        base = self.entries.square
        return math.sqrt(self.entries.models[model].square / base) if base else math.nan


@dataclass(frozen=True)
class Total:
    """Several weights taken together: entry counts are summed."""

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

    def jaccard(self, i: int, j: int) -> tuple[float, float]:
        """Of the changed entries of two models, and what it would be at random at their rates."""
        both = sum(weight.entries.both[i, j] for weight in self.weights)
        first, second = self.changed(i), self.changed(j)
        return jaccard(both, first, second), jaccard_at_random(first / self.size, second / self.size)

    def consensus(self) -> list[float]:
        """Shares of entries that 0, 1, ... of the models have changed."""
        columns = zip(*(weight.entries.consensus for weight in self.weights), strict=True)
        return [sum(column) / self.size for column in columns]


@dataclass
class Measured:
    """All that was found."""

    base: str
    models: list[str]
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
        total = self.total()
        runs = range(len(self.models))
        whole: dict[str, Any] = {
            "base": self.base,
            "models": self.models,
            "sparsity": [total.sparsity(run) for run in runs],
            "kept_as_stored": [total.kept_as_stored(run) for run in runs],
            "jaccard": [
                {"models": [i, j], "found": pair[0], "at_random": pair[1]}
                for i, j in self.pairs()
                for pair in [total.jaccard(i, j)]
            ],
            "consensus": total.consensus(),
            "told": self.told,
            "weights": [
                {
                    "name": weight.name,
                    "layer": weight.layer,
                    "kind": weight.kind,
                    "shape": list(weight.shape),
                    "sparsity": [weight.sparsity(run) for run in runs],
                    "relative_change": [weight.relative_change(run) for run in runs],
                    "row_dispersion": [weight.entries.models[run].rows for run in runs],
                    "column_dispersion": [weight.entries.models[run].columns for run in runs],
                    "consensus": weight.entries.consensus,
                }
                for weight in self.weights
            ],
        }
        return without_nan(whole)


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def inspect(base: str, tuned: list[str]) -> Measured:
    """Compare models with their base. UserError where one cannot be read, or nothing is in common."""
    before = Folder(base, "BASE")
    after = [Folder(path, f"TUNED {path}") for path in tuned]
    measured = Measured(base, list(tuned))
    names = _in_common(measured, before, after)
    for name in names:
        layer, kind = place(name)
        shape = before.weights[name].shape
        compared = compare_entries(name, before, after)
        measured.weights.append(Weight(name, layer, kind, shape, compared))
    measured.told += _caveats(measured, before, after)
    return measured


def _in_common(measured: Measured, base: Folder, tuned: list[Folder]) -> list[str]:
    """Weights of every model with the same shape, in the order of their names; the others are told."""
    names = set(base.weights)
    for given, folder in zip(measured.models, tuned, strict=True):
        missing = sorted(set(base.weights) - set(folder.weights))
        more = sorted(set(folder.weights) - set(base.weights))
        here = set(base.weights) & set(folder.weights)
        other = sorted(name for name in here if folder.weights[name].shape != base.weights[name].shape)
        for found, what in ((missing, "not in"), (more, "only in"), (other, "of another shape in")):
            if found:
                measured.told.append(f"{len(found)} weights are {what} {given}, such as {found[0]}: left out")
        names = (names & here) - set(other)
    if not names:
        raise UserError(f"{measured.base} and the others have no weight of the same name and shape in common")
    return sorted(names, key=lambda name: (place(name)[0] is not None, place(name)[0] or 0, name))


def _caveats(measured: Measured, base: Folder, tuned: list[Folder]) -> Iterator[str]:
    for run, (given, folder) in enumerate(zip(measured.models, tuned, strict=True)):
        broken = [weight for weight in measured.weights if weight.entries.models[run].not_finite]
        if broken:
            count = sum(weight.entries.models[run].not_finite for weight in broken)
            yield f"{count} entries are NaN or infinite in {given} or the base, such as in {broken[0].name}"
        stored = {each.dtype for each in (*base.weights.values(), *folder.weights.values())}
        if wide := sorted(stored & {"F32", "F64"}):
            share = measured.total().kept_as_stored(run)
            yield (
                f"{given}: weights are stored as {', '.join(wide)}; sparsity is that of bf16 copies, which "
                f"hide small updates. As stored {share:.1%} of the entries are the same"
            )
