"""The few collectives the project uses; every one is a no-op on a single rank.

What lies on a GPU goes by the process group the launcher described (NCCL there), all else by a gloo group
beside it: objects and CPU tensors take no GPU memory, and a rank that waits for them leaves its GPU alone.
"""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rlvr_cli.core.heartbeat import heart

T = TypeVar("T")
_cpu_group: dist.ProcessGroup | None = None
"""None: the default group, which then has to be able to carry CPU tensors."""


def open_cpu_group(patience: timedelta) -> None:
    """Make the group of what does not lie on a GPU; all ranks call it once they have joined.

    `patience` is how long a rank waits in it for the slowest one.
    """
    global _cpu_group
    if world_size() > 1:
        _cpu_group = dist.new_group(backend="gloo", timeout=patience)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def device() -> torch.device:
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def gather(value: T) -> list[T]:
    """Every rank's value, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with heart.waiting("gather"):
        dist.all_gather_object(values, value, group=_cpu_group)
    return values


def exchange(objects: list[T]) -> list[T]:
    """Give `objects[r]` to rank r; returns what each rank had for this one, in rank order.

    The object a rank has for itself comes back as it is, the others as copies. Unlike with `gather`, a rank
    holds nothing that is meant for another.
    """
    here, count = rank(), world_size()
    if len(objects) != count:
        raise ValueError(f"{len(objects)} objects for {count} ranks")
    if count == 1:
        return list(objects)
    packed = [b"" if r == here else pickle.dumps(x, pickle.HIGHEST_PROTOCOL) for r, x in enumerate(objects)]
    sizes = torch.tensor([len(each) for each in packed])
    sent = torch.frombuffer(bytearray().join(packed), dtype=torch.uint8)
    del packed
    with heart.waiting("exchange"):
        coming = torch.empty_like(sizes)
        dist.all_to_all_single(coming, sizes, group=_cpu_group)
        received = torch.empty(int(coming.sum()), dtype=torch.uint8)
        dist.all_to_all_single(received, sent, coming.tolist(), sizes.tolist(), group=_cpu_group)
    parts = received.split(coming.tolist())
    return [objects[r] if r == here else pickle.loads(part.numpy()) for r, part in enumerate(parts)]


def sum_over_ranks(values: Tensor) -> Tensor:
    """Summed in place, on the device the values lie on."""
    if world_size() > 1:
        with heart.waiting("sum"):
            dist.all_reduce(values, group=_group_of(values))
    return values


def max_over_ranks(values: Tensor) -> Tensor:
    """The largest of each, in place, on the device the values lie on."""
    if world_size() > 1:
        with heart.waiting("maximum"):
            dist.all_reduce(values, op=dist.ReduceOp.MAX, group=_group_of(values))
    return values


def from_rank_0(values: Tensor) -> Tensor:
    """Those of rank 0, in place, on the device the values lie on."""
    if world_size() > 1:
        with heart.waiting("broadcast"):
            dist.broadcast(values, 0, group=_group_of(values))
    return values


def barrier() -> None:
    """Wait until every rank is here; work queued on a GPU may still go on."""
    if world_size() > 1:
        with heart.waiting("barrier"):
            dist.barrier(group=_cpu_group)


def _group_of(values: Tensor) -> dist.ProcessGroup | None:
    return None if values.is_cuda else _cpu_group
