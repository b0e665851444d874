"""Checksums of tensors, computed where they lie at the speed of memory: has every bit arrived?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlvr_cli.rollout.shards import Taken

WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)
BLOCK = 2**18
"""Bytes for each thread of a CPU that are summed both ways while they are in its cache."""


def fingerprint(tensor: Tensor) -> list[Tensor]:
    """Sums of the columns and of the rows of a tensor's bits, int64 on its device; -0 and 0 differ.

    Memory is read as a matrix of the widest integers its rows are made of; sums are taken modulo 2^64. A
    single changed element always shows, and so do swapped rows, columns and halves that are not alike. Reads
    the tensor once from the memory of a CPU and twice from that of a GPU, and makes nothing of its size,
    unless it is not contiguous.
    """
    words = _words(tensor.detach())
    if len(words) == 1:
        return [words[0].clone()]
    row = words.shape[1] * words.element_size()
    block = BLOCK * torch.get_num_threads()
    if words.device.type != "cpu" or words.nbytes <= block or 8 * row > block:
        return [words.sum(0), words.sum(1)]
    columns = torch.zeros(words.shape[1], dtype=torch.int64)
    rows = []
    for part in words.split(block // row):
        columns += part.sum(0)
        rows.append(part.sum(1))
    return [columns, torch.cat(rows)]


def _words(tensor: Tensor) -> Tensor:
    """The tensor as a matrix of integers. How wide they are depends on its shape and type alone."""
    if tensor.numel() == 0:
        return tensor.new_zeros((1, 1), dtype=torch.int64)
    row = tensor.shape[-1] if tensor.ndim else 1
    matrix = tensor.contiguous().reshape(-1, row)
    width = next(w for w in WORDS if row * tensor.element_size() % w.itemsize == 0)
    if matrix.storage_offset() * tensor.element_size() % width.itemsize:  # a view that starts between words
        matrix = matrix.clone()
    return matrix.view(width)


@dataclass(kw_only=True)
class Receipt:
    """What is known of the engine's weights after they were sent, in elements of its parameters."""

    compared: int = 0
    """Equal to what was sent, bit for bit."""
    sampled: int = 0
    """Held in a packed form, whose columns drawn at random give the numbers that were sent."""
    untold: dict[str, int] = field(default_factory=dict)
    """Held in a form that cannot be compared: parameter -> elements."""
    wrong: list[str] = field(default_factory=list)
    """Parameters that hold something else than was sent."""
    unsent: list[str] = field(default_factory=list)
    """Parameters for which nothing was sent."""
    partial: list[str] = field(default_factory=list)
    """Parameters of which a part was not sent, padding of the vocabulary aside."""
    taken: dict[str, Taken] = field(default_factory=dict, compare=False)
    """Which part of each tensor sent this rank has copied."""
    homeless: list[str] = field(default_factory=list)
    """Layers for which adapters were sent, and which in the engine take none."""

    @property
    def verified(self) -> float:
        """Share of the elements whose engine's copy is proved to be what was sent; NaN where nothing was, as
        by a rank that leaves it to another."""
        proved = self.compared + self.sampled
        every = proved + sum(self.untold.values())
        return proved / every if every else math.nan


class Ledger:
    """Fingerprints of what was sent and of what is held, compared on the device in one go."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sent: list[Tensor] = []
        self._held: list[Tensor] = []

    def add(self, name: str, sent: list[Tensor], held: Tensor) -> None:
        """`sent`: the fingerprint taken when it was sent; `held`: the tensor that should have it."""
        self._names += [name] * len(sent)
        self._sent += sent
        self._held += fingerprint(held)

    def differing(self) -> list[str]:
        """Names of those that differ, each once."""
        if not self._names:
            return []
        numbers = torch.tensor([len(each) for each in self._sent])
        off = (torch.cat(self._sent) != torch.cat(self._held)).nonzero()[:, 0].cpu()
        which = torch.searchsorted(numbers.cumsum(0), off, right=True).unique().tolist()
        return list(dict.fromkeys(self._names[n] for n in which))
