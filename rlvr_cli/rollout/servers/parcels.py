"""Weights on their way: files in memory that other processes of this user open by path, each with its seals.

They lie in anonymous memory (memfd), not in /dev/shm: nothing is left of them when the trainer is killed, and
the size of a container's /dev/shm does not matter.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.rollout.engine import SyncError
from rlvr_cli.rollout.fingerprints import fingerprint
from rlvr_cli.schema.placement import BUCKET

DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
"""Names of safetensors. Its own reader (0.8.0) forgets two numbers of every tensor that it reads: a server,
which reads all of them after each step, would grow for as long as the run lasts."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Tensors in the format of safetensors, or one after the other."""

    descriptor: int
    size: int
    """Bytes."""
    seals: dict[str, str]
    """Name -> seal of the tensor as the trainer had it."""
    dtype: str = ""
    """Of tensors one after the other (buckets.py); empty: the file says it."""
    shapes: dict[str, list[int]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return path_of(self.descriptor)

    def info(self, path: str) -> dict[str, Any]:
        """For a worker that finds it there."""
        return {"path": path, "seals": self.seals, "dtype": self.dtype, "shapes": self.shapes}

    def read(self, piece: int = 2**22) -> Iterator[bytes]:
        """Its bytes, for who is on another machine."""
        for offset in range(0, self.size, piece):
            yield os.pread(self.descriptor, piece, offset)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(slots=True, kw_only=True)
class Cargo:
    """The weights that all servers are to hold."""

    stamp: str
    parcels: list[Parcel] = field(default_factory=list)
    """Empty: those that a server has read from disk when it started."""
    adapters: bool = False
    """They are adapters, of the model that a server has read from disk."""

    def close(self) -> None:
        for parcel in self.parcels:
            parcel.close()
        self.parcels = []


def path_of(descriptor: int) -> str:
    """Where other processes find a file that this one has open."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def seal(tensor: Tensor) -> str:
    """A checksum of a tensor's bits, shape and type: computed where it lies, one changed bit changes it."""
    digest = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
    for sums in fingerprint(tensor):
        digest.update(sums.cpu().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def pack(weights: Iterable[tuple[str, Tensor]], most: int = BUCKET) -> list[Parcel]:
    """All weights, in parcels. Each is copied as it comes: gathered ones are gone when the next is made.

    SyncError for a name that comes twice, and where memory does not suffice.
    """
    parcels: list[Parcel] = []
    seen: set[str] = set()
    held: dict[str, Tensor] = {}
    seals: dict[str, str] = {}
    try:
        for name, tensor in weights:
            once(name, seen)
            size = sum(each.nbytes for each in held.values())
            if held and size + tensor.nbytes > most:
                parcels.append(_parcel(held, seals))
                held, seals = {}, {}
            seals[name] = seal(tensor)
            held[name] = tensor.detach().to("cpu", copy=True).contiguous()
        if held:
            parcels.append(_parcel(held, seals))
    except BaseException:
        for parcel in parcels:
            parcel.close()
        raise
    return parcels


def once(name: str, seen: set[str]) -> None:
    """SyncError for a name that has been seen."""
    if name in seen:
        raise SyncError(f"weight sync: {name} is sent twice")
    seen.add(name)


def unpack(path: str, seals: Mapping[str, str], broken: list[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a parcel; names of those that are not as they were sealed are added to `broken`."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        start, size = file.tell(), file.seek(0, os.SEEK_END)
    held = torch.UntypedStorage.from_file(path, shared=False, nbytes=size)  # mapped: read where it is used
    for name in sorted({*header, *seals}):
        first, end = (start + place for place in header[name]["data_offsets"])
        empty = torch.empty(0, dtype=DTYPES[header[name]["dtype"]])  # a storage for each, as an Audit asks
        tensor = empty.set_(held[first:end]).reshape(header[name]["shape"])
        if seal(tensor) != seals.get(name):
            broken.append(name)
        yield name, tensor


def _parcel(tensors: dict[str, Tensor], seals: dict[str, str]) -> Parcel:
    from safetensors.torch import save

    data = save(tensors)
    with memory_file("weights") as descriptor:
        write(descriptor, data)
    return Parcel(descriptor, len(data), seals)


@contextmanager
def memory_file(name: str) -> Iterator[int]:
    """A new file in memory, closed where the block fails; SyncError where memory does not suffice."""
    descriptor = os.memfd_create(f"rlvr-{name}")
    try:
        yield descriptor
    except OSError as error:
        os.close(descriptor)
        raise SyncError(f"weight sync: no memory for the weights on their way ({error.strerror})") from error
    except BaseException:
        os.close(descriptor)
        raise


def write(descriptor: int, data: bytes | memoryview) -> None:
    """All of it: one call writes 2 GB at most."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
