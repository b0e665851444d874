"""The few collectives the project uses; every one is a no-op on a single rank."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rlvr_cli.core.heartbeat import heart

T = TypeVar("T")


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
        dist.all_gather_object(values, value)
    return values


def sum_over_ranks(values: Tensor) -> Tensor:
    if world_size() > 1:
        values = values.to(device())
        with heart.waiting("sum"):
            dist.all_reduce(values)
    return values


def max_over_ranks(values: Tensor) -> Tensor:
    if world_size() > 1:
        values = values.to(device())
        with heart.waiting("maximum"):
            dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values


def barrier() -> None:
    if world_size() > 1:
        with heart.waiting("barrier"):
            dist.barrier()
