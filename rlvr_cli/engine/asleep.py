"""A module's state off the device while the engine samples: to CPU memory, and back into the same tensors.

Each tensor's storage is emptied and filled again in place. Every view of it stays what it is, so that the
flat buffers and mappings of all ZeRO stages need no mending. DeepSpeed's own `offload_states` (0.19.8) puts
other tensors in the place of these, and knows neither ZeRO-0 nor a model without an optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rlvr_cli.core import distributed

Method = TypeVar("Method", bound=Callable[..., Any])
BLOCK = 1 << 28
"""Bytes copied at once. Pinned memory is dealt out in powers of two: one block for all could waste half."""


class Asleep:
    """Memory that was given back, and what it held."""

    def __init__(
        self, kept: Iterable[Tensor], zeros: Iterable[Tensor] = (), scratch: Iterable[Tensor] = ()
    ) -> None:
        """What is in `zeros` need not be kept, and is 0 when it is back; in `scratch` it is anything."""
        cuda = torch.cuda.is_available()
        self._kept: list[tuple[torch.UntypedStorage, int, list[Tensor]]] = []
        self._zeros = list(storages(zeros).values())
        found = storages(kept)
        for storage in found.values():
            blocks = []
            for part in as_bytes(storage).split(BLOCK):
                blocks.append(torch.empty(len(part), dtype=torch.uint8, pin_memory=cuda))
                blocks[-1].copy_(part, non_blocking=True)
            self._kept.append((storage, storage.nbytes(), blocks))
        spare = self._zeros + list(storages(scratch).values())
        self._kept += [(storage, storage.nbytes(), []) for storage in spare]
        if cuda:
            torch.cuda.synchronize()
        for storage, *_ in self._kept:
            storage.resize_(0)
        if cuda:
            torch.cuda.empty_cache()

    @property
    def nbytes(self) -> int:
        """Of device memory that was given back."""
        return sum(size for _, size, _ in self._kept)

    def wake(self) -> None:
        """Everything as it was, at another address."""
        for storage, size, blocks in self._kept:
            storage.resize_(size)
            for part, block in zip(as_bytes(storage).split(BLOCK), blocks, strict=False):
                part.copy_(block, non_blocking=True)
        for storage in self._zeros:
            as_bytes(storage).zero_()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # before the pinned memory is given back
        self._kept, self._zeros = [], []


def storages(tensors: Iterable[Tensor]) -> dict[int, torch.UntypedStorage]:
    """Address -> storage of what lies on the device and can be given back (a mapped file cannot)."""
    here, found = distributed.device().type, {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if tensor.device.type == here and storage.nbytes() and storage.resizable():
            found[storage.data_ptr()] = storage
    return found


def as_bytes(storage: torch.UntypedStorage) -> Tensor:
    flat = torch.empty(0, dtype=torch.uint8, device=storage.device)
    return flat.set_(storage, 0, (storage.nbytes(),), (1,))


# -------------------------------------------------------------------- what DeepSpeed holds


def state_of(module: nn.Module, optimizer: Any = None) -> Iterator[Tensor]:
    """Weights, buffers, fp32 copies and moments, for every ZeRO stage."""
    for parameter in module.parameters():
        yield parameter.data
        if hasattr(parameter, "ds_tensor"):
            yield parameter.ds_tensor
    yield from module.buffers()
    inner = getattr(optimizer, "optimizer", optimizer)
    if inner is not None:
        for master, state in inner.state.items():
            yield from (x for x in (master, *state.values()) if isinstance(x, Tensor))
    for name in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat", "fp32_groups"):
        for group in getattr(optimizer, name, None) or []:
            yield from group if isinstance(group, list) else [group]


def sums_of(optimizer: Any) -> Iterator[Tensor]:
    """Gradients as ZeRO-3 keeps them between updates: what is not written is a shard's padding, and 0."""
    if hasattr(optimizer, "grad_partitions_flat_buffer"):
        yield optimizer.grad_partitions_flat_buffer


def scratch_of(optimizer: Any) -> Iterator[Tensor]:
    """Buffers that DeepSpeed keeps between updates without anything in them."""
    if hasattr(optimizer, "grad_partitions_flat_buffer"):  # ZeRO-1 and 2 drop their buckets
        yield from (bucket.buffer for bucket in optimizer.ipg_buckets.values())
    spare = getattr(optimizer, "temp_grad_buffer_for_gpu_offload", None)
    if spare is not None:
        yield spare


# -------------------------------------------------------------------- whose it is


class Sleeper:
    """What policy, critic and reference share: asleep or not, and how they wake."""

    _asleep: Asleep | None = None

    @property
    def asleep(self) -> bool:
        return self._asleep is not None

    def sleep(self) -> None:
        """Give the device memory of the state back. What needs it wakes it."""
        raise NotImplementedError

    def wake(self) -> None:
        if self._asleep is not None:
            self._asleep.wake()
            self._asleep = None


def awake(method: Method) -> Method:
    """A method that needs the state: its object wakes before it starts."""

    @wraps(method)
    def waking(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.wake()
        return method(self, *args, **kwargs)

    return waking  # type: ignore[return-value]
