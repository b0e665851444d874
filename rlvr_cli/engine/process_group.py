"""Joining the other ranks, the way DeepSpeed expects it."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import timedelta
from functools import partial

import torch
from torch.distributed import distributed_c10d as c10d

from rlvr_cli.core import distributed, lost_machines
from rlvr_cli.core.rank_process import free_port, rank_environment

JOIN = timedelta(minutes=30)
"""For all ranks to arrive: they may read their libraries from a cold network disk."""
FOREVER = timedelta(days=20)
"""In milliseconds it still fits into 32 bits."""


def initialise(hang_s: float | None = None) -> None:
    """Join the process group the launcher described in the environment (or make one of one rank).

    `hang_s` is the watchdog's patience; None: there is no watchdog. A collective has more: by its own time
    limit it would end a rank that only waits, and hide the one it waits for.
    """
    import deepspeed

    for name, value in rank_environment(0, 1, free_port()).items():
        os.environ.setdefault(name, value)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # DeepSpeed would probe its C++ extensions by compiling, and build a shared-memory collective that only
    # its inference uses: seconds lost, and a failure where there is no compiler. Nothing here needs them.
    deepspeed.ops.__compatible_ops__ = defaultdict(bool)
    forget_ended_groups()
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo", timeout=JOIN)
    patience, slowest = patience_of(hang_s)
    c10d._set_pg_timeout(patience)
    # Groups that DeepSpeed and vLLM make later name no limit of their own: torch's would be 10 minutes.
    c10d.default_pg_timeout = c10d.default_pg_nccl_timeout = patience
    if int(os.environ["WORLD_SIZE"]) > int(os.environ["LOCAL_WORLD_SIZE"]):  # several machines
        # A connection of its own: on the shared one a rank may wait for the others for as long as it may.
        store = c10d._get_default_store().clone()  # type: ignore[attr-defined]
        opened = partial(distributed.open_cpu_group, slowest)
        lost_machines.watch(store, distributed.rank(), distributed.world_size(), opened)
    else:
        distributed.open_cpu_group(slowest)


def forget_ended_groups() -> None:
    """Let DeepSpeed forget groups that somebody else has ended: it would make the next trainer in them.

    A vLLM engine that closes ends every process group of its process, the trainer's as well.
    """
    from deepspeed.utils import groups

    clone = groups._WORLD_GROUP
    if clone is not None and clone not in c10d._world.pg_group_ranks:
        groups._release_process_group_references()


def patience_of(hang_s: float | None) -> tuple[timedelta, timedelta]:
    """How long a rank waits within a step of all ranks, and for the slowest one to come to it.

    The second is longer: ranks that sample give signs of life for as long as their responses take.
    """
    if hang_s is None:
        return FOREVER, FOREVER
    return timedelta(seconds=2 * hang_s + 60), timedelta(seconds=20 * hang_s + 60)
