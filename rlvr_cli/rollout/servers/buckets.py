"""Weights on their way through a process group: many tensors of one type in one flat piece of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.rollout.servers.parcels import Parcel, memory_file, once, seal, write
from rlvr_cli.schema.placement import BUCKET


@dataclass(slots=True, kw_only=True)
class Bucket:
    """Tensors one after the other, as `info` tells a worker."""

    flat: Tensor
    """Their bytes, [size], uint8."""
    dtype: torch.dtype
    """Of all of them."""
    shapes: dict[str, list[int]] = field(default_factory=dict)
    seals: dict[str, str] = field(default_factory=dict)
    """Name -> seal of the tensor as the trainer had it."""
    used: int = 0

    def has_room(self, tensor: Tensor) -> bool:
        return self.used + tensor.nbytes <= len(self.flat)

    def add(self, name: str, tensor: Tensor) -> None:
        """A copy: what was gathered may be gone when the next one is made."""
        self.shapes[name], self.seals[name] = list(tensor.shape), seal(tensor)
        end = self.used + tensor.nbytes
        self.flat[self.used : end].view(self.dtype).view(tensor.shape).copy_(tensor)
        self.used = end

    def closed(self) -> Bucket:
        """When nothing more is added: the memory in use, with all of it written."""
        if self.flat.is_cuda:
            torch.cuda.current_stream(self.flat.device).synchronize()
        self.flat = self.flat[: self.used]
        return self

    @property
    def info(self) -> dict[str, Any]:
        return {"seals": self.seals, "dtype": name_of(self.dtype), "shapes": self.shapes}

    def parcel(self) -> Parcel:
        """The same in a file in memory, for a server that needs these weights later."""
        with memory_file("weights") as descriptor:
            write(descriptor, self.flat.cpu().numpy().data)
        return Parcel(descriptor, self.used, self.seals, name_of(self.dtype), self.shapes)


@torch.no_grad()
def buckets(
    weights: Iterable[tuple[str, Tensor]], device: torch.device, most: int = BUCKET
) -> Iterator[Bucket]:
    """All weights. A bucket has `most` bytes at most, or one tensor; of each type one is being filled.

    SyncError for a name that comes twice.
    """
    filling: dict[torch.dtype, Bucket] = {}
    seen: set[str] = set()
    for name, tensor in weights:
        once(name, seen)
        dtype = tensor.dtype
        if dtype in filling and not filling[dtype].has_room(tensor):
            yield filling.pop(dtype).closed()
        if dtype not in filling:
            size = max(most, tensor.nbytes)
            filling[dtype] = Bucket(flat=torch.empty(size, dtype=torch.uint8, device=device), dtype=dtype)
        filling[dtype].add(name, tensor)
    for bucket in filling.values():
        yield bucket.closed()


def apart(
    flat: Tensor, dtype: str, shapes: Mapping[str, list[int]], seals: Mapping[str, str], broken: list[str]
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a bucket, each in memory of its own, as loaders keep some of them; names of those that
    are not as they were sealed are added to `broken`."""
    kind, begin = type_of(dtype), 0
    for name, shape in shapes.items():
        end = begin + prod(shape) * kind.itemsize
        tensor = flat[begin:end].view(kind).view(shape).clone()
        if seal(tensor) != seals.get(name):
            broken.append(name)
        yield name, tensor
        begin = end


def size_of(dtype: str, shapes: Mapping[str, list[int]]) -> int:
    """Bytes of such a bucket."""
    return type_of(dtype).itemsize * sum(prod(shape) for shape in shapes.values())


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def type_of(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found
