"""Joining the other ranks, the way DeepSpeed expects it."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import timedelta

import torch

from rlvr_cli.core.rank_process import free_port, rank_environment


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
