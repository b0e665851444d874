"""One weight before and after training, entry by entry: counts that are sums over blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor

from rlvr_cli.inspect.changed import changed_in_bf16, dispersion
from rlvr_cli.inspect.folder import Folder, Readable

BLOCK = 2**22
"""Entries that are in memory at once, of each model: an embedding is larger than all else together."""


@dataclass
class Entries:
    """What became of a weight's entries in one model."""

    changed: int = 0
    """Another number as bf16."""
    moved: int = 0
    """Another number as stored; of weights in fp32 more than those."""
    not_finite: int = 0
    """NaN or infinite, in either model."""
    square: float = 0.0
    """Of all differences as stored, those of finite entries: the sum of (w1 - w0)^2."""
    rows: float = math.nan
    """How much more the rows differ in changed entries than chance makes them (`dispersion`)."""
    columns: float = math.nan


@dataclass
class Compared:
    """A weight of the base beside the same weight of every other model."""

    size: int
    square: float = 0.0
    """Sum of w0^2 over finite entries."""
    models: list[Entries] = field(default_factory=list)
    both: dict[tuple[int, int], int] = field(default_factory=dict)
    """Entries that two models, i < j, have both changed."""
    consensus: list[int] = field(default_factory=list)
    """Entries that 0, 1, ... of the models have changed."""


def compare_entries(name: str, base: Folder, tuned: Sequence[Readable]) -> Compared:
    """One pass over the weight `name`, a block of rows of every model at a time."""
    shape = base.weights[name].shape
    found = Compared(math.prod(shape), models=[Entries() for _ in tuned], consensus=[0] * (len(tuned) + 1))
    lines = _Lines(shape, len(tuned))
    for start, stop in _blocks(shape):
        w0 = base.read(name, start, stop)
        found.square += _square(w0.double() if w0.dtype is torch.float64 else w0.float())
        masks = []
        for entries, folder in zip(found.models, tuned, strict=True):
            masks.append(_add(entries, w0, folder.read(name, start, stop)))
        _together(found, masks)
        lines.add(masks, start)
    for index, entries in enumerate(found.models):
        entries.rows, entries.columns = lines.dispersions(index)
    return found


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, int | None]]:
    if not shape:
        yield 0, None
        return
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield start, min(start + rows, shape[0])


def _square(values: Tensor) -> float:
    """Sum of the squares of finite entries; of rows in their type, of all rows in fp64."""
    rows = torch.linalg.vector_norm(values.reshape(len(values), -1) if values.dim() else values, dim=-1)
    square = float(rows.double().square().sum())
    if math.isfinite(square):
        return square
    return float(values.double().masked_fill(~values.isfinite(), 0).square().sum())


def _add(entries: Entries, w0: Tensor, w1: Tensor) -> Tensor:
    """Count a block; returns which entries have changed."""
    mask = changed_in_bf16(w0, w1)
    exact = torch.float64 if torch.float64 in (w0.dtype, w1.dtype) else torch.float32
    difference = w1.to(exact) - w0.to(exact)
    entries.changed += int(torch.count_nonzero(mask))
    entries.moved += int(torch.count_nonzero(difference))
    if not math.isfinite(float(difference.sum())):  # one look at all; which ones only where there are some
        entries.not_finite += int(torch.count_nonzero(~(w0.isfinite() & w1.isfinite())))
    entries.square += _square(difference)
    return mask


def _together(found: Compared, masks: list[Tensor]) -> None:
    if len(masks) == 1:
        changed = int(torch.count_nonzero(masks[0]))
        found.consensus[0] += masks[0].numel() - changed
        found.consensus[1] += changed
        return
    for i, j in combinations(range(len(masks)), 2):
        found.both[i, j] = found.both.get((i, j), 0) + int(torch.count_nonzero(masks[i] & masks[j]))
    votes = torch.zeros_like(masks[0], dtype=torch.uint8)
    for mask in masks:
        votes += mask
    for count, number in enumerate(torch.bincount(votes.flatten(), minlength=len(masks) + 1).tolist()):
        found.consensus[count] += number


class _Lines:
    """Changed entries of each row and column of a matrix."""

    def __init__(self, shape: tuple[int, ...], models: int) -> None:
        self.shape = shape if len(shape) == 2 else None
        if self.shape is not None:
            self.rows = torch.zeros(models, shape[0], dtype=torch.int64)
            self.columns = torch.zeros(models, shape[1], dtype=torch.int64)

    def add(self, masks: list[Tensor], start: int) -> None:
        if self.shape is None:
            return
        for index, mask in enumerate(masks):
            self.rows[index, start : start + len(mask)] = mask.sum(1)
            self.columns[index] += mask.sum(0)

    def dispersions(self, index: int) -> tuple[float, float]:
        if self.shape is None:
            return math.nan, math.nan
        rows, columns = self.shape
        return dispersion(self.rows[index], columns), dispersion(self.columns[index], rows)
