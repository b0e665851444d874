"""The few collectives the project uses; every one is a no-op on a single rank."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rlvr_cli.heartbeat import heart
from rlvr_cli.place import free_port, rank_environment

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


def initialise(hang_s: float | None = None) -> None:
    """Join the process group the launcher described in the environment (or make one of one rank).

    `hang_s` is the watchdog's patience. A collective has more: by its own time limit it would end a rank
    that only waits, and hide the one it waits for.
    """
    import deepspeed

    for name, value in rank_environment(0, 1, free_port()).items():
        os.environ.setdefault(name, value)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # DeepSpeed would probe its C++ extensions by compiling, and build a shared-memory collective that only
    # its inference uses: seconds lost, and a failure where there is no compiler. Nothing here needs them.
    deepspeed.ops.__compatible_ops__ = defaultdict(bool)
    patience = {} if hang_s is None else {"timeout": timedelta(seconds=2 * hang_s + 60)}
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo", **patience)


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
