"""What training has changed in the weights so far, by the numbers of `rlvr inspect weights`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.stored_names import as_stored
from rlvr_cli.inspect.changed import changed_in_bf16
from rlvr_cli.inspect.entries import compare_entries
from rlvr_cli.inspect.folder import Folder, place
from rlvr_cli.inspect.measured import Total, Weight, mean_of, relative
from rlvr_cli.inspect.spectra import Base, Options, base_of, overlaps
from rlvr_cli.inspect.weights import has_directions, in_order
from rlvr_cli.schema import Model, Trainer
from rlvr_cli.tracking import Timer

KEY = "trainer.inspect_weights_every"


@dataclass(frozen=True)
class Looked:
    """One matrix of a layer, and where its changed entries lie (NaN: it has no directions, or no changes)."""

    weight: Weight
    principal: float = math.nan
    low: float = math.nan


@dataclass
class Share:
    """What a rank has looked at."""

    found: list[Looked] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Matrices that the start model's files do not have, or in another shape."""


def course_of(model: Model, settings: Trainer, tell: Callable[[str, str], object]) -> WeightCourse | None:
    """Where it is asked for. `model`: the start model, with a path that loads; UserError where its files are
    not safetensors."""
    if settings.inspect_weights_every is None:
        return None
    return WeightCourse(Folder(_folder_of(model), KEY), settings, tell)


class WeightCourse:
    """Looks at a model's weights every so many steps, and compares them with the start model's files.

    Each weight is read from its file when its turn comes, so that memory is that of one of them; ranks take
    turns. Nothing is kept from one look to the next.
    """

    def __init__(self, start: Folder, settings: Trainer, tell: Callable[[str, str], object]) -> None:
        self.start, self.settings, self.tell = start, settings, tell
        self.options, self.told = Options(), False
        self.metrics: dict[str, float] = {}
        """Of the newest step; none where it was not looked at."""

    def look(self, step: int, trained: Optimised, timer: Timer) -> dict[str, float]:
        """Metrics `weights/*` after `step` steps, where they are due; all ranks must call it."""
        self.metrics = {}
        every = self.settings.inspect_weights_every
        if every is not None and (step % every == 0 or step >= self.settings.steps):
            with timer("weights"):
                self.metrics = self._look(trained)
        return self.metrics

    def _look(self, trained: Optimised) -> dict[str, float]:
        merge = trained.merge
        shares = distributed.gather(self._share(trained))
        trained.merge = merge  # what is said of the newest sync stays that
        found = [looked for share in shares for looked in share.found]
        self._tell(sorted(chain.from_iterable(share.left_out for share in shares)), len(found))
        # By name: sums of floats, and means, are then those of one rank.
        return metrics_of(sorted(found, key=lambda looked: in_order(looked.weight.name)))

    def _share(self, trained: Optimised) -> Share:
        """This rank's part: of all weights, which ranks go through together, every so manieth."""
        share = Share()
        for number, (name, whole) in enumerate(trained.weights()):
            heart.beat()
            if number % distributed.world_size() == distributed.rank():
                for stored, weight in as_stored(trained.hf, name, whole).items():
                    self._add(share, stored, weight)
        return share

    def _add(self, share: Share, name: str, weight: Tensor) -> None:
        layer, kind = place(name)
        if layer is None or weight.dim() < 2:
            return
        there = self.start.weights.get(name)
        if there is None or there.shape != tuple(weight.shape):
            share.left_out.append(name)
            return
        now = Now(weight.detach().cpu())
        looked = Weight(name, layer, kind, there.shape, compare_entries(name, self.start, [now]))
        if not has_directions(looked.shape, looked.entries):
            share.found.append(Looked(looked))
            return
        w0 = self.start.read(name)
        base: Base = base_of(w0, self.options)
        share.found.append(Looked(looked, *overlaps(base, changed_in_bf16(w0, now.weight))))

    def _tell(self, left_out: list[str], found: int) -> None:
        """Once: what `weights/*` are without."""
        if not self.told and left_out:
            self.tell(
                "warning",
                f"{KEY}: {len(left_out)} of {len(left_out) + found} matrices of layers are not in the start "
                f"model's files, or in another shape, such as {left_out[0]}: weights/* are of the others",
            )
        if not self.told and not (left_out or found):
            self.tell("warning", f"{KEY}: this model has no matrices in layers, which weights/* are of")
        self.told = True


class Now:
    """A weight under training, read as those of a folder are."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        return self.weight[start:stop]


def metrics_of(found: list[Looked]) -> dict[str, float]:
    """Over all matrices of layers, as in the last line of the command's tables, and by kind."""
    total = Total([looked.weight for looked in found])
    row = {f"weights/{name}": value for name, value in _entries(total)}
    row["weights/principal"] = mean_of([looked.principal for looked in found])
    row["weights/low"] = mean_of([looked.low for looked in found])
    kinds: dict[str, list[Weight]] = {}
    for weight in total.weights:
        kinds.setdefault(weight.kind, []).append(weight)
    for kind, weights in kinds.items():
        row |= {f"weights/{kind}/{name}": value for name, value in _entries(Total(weights))}
    return {name: value for name, value in row.items() if math.isfinite(value)}


def _entries(total: Total) -> Iterator[tuple[str, float]]:
    yield "sparsity", total.sparsity(0)
    yield "relative_change", relative(total.weights, 0)


def _folder_of(model: Model) -> str:
    """Where the start model's files are: of a hub id where the trainer's were loaded from."""
    if Path(model.path).expanduser().is_dir():
        return model.path
    from huggingface_hub import snapshot_download

    files = ["*.safetensors*", "*.json"]
    try:
        return str(snapshot_download(model.path, revision=model.revision, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise UserError(f"{KEY}: the files of '{model.path}' cannot be read: {error}") from error
