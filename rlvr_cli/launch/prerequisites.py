"""What is looked at before anything is written or started: model, engine, processors, ranks."""

from __future__ import annotations

import glob
import importlib.util
import os
import subprocess
import sys

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.install import ENGINE
from rlvr_cli.schema import EvalRecipe, Placement, Recipe, Rollout, RolloutEngine, SFTRecipe, Tracker


def check_engine(rollout: Rollout) -> None:
    elsewhere = rollout.placement is Placement.servers and rollout.servers.urls
    if rollout.engine is RolloutEngine.vllm and not elsewhere and importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"rollout.engine=vllm but vLLM is not installed: {ENGINE['gpu']}, or {ENGINE['cpu']} for CPUs; "
            "or use plain transformers with rollout=hf"
        )


def check_split(rollout: Rollout, ranks: int) -> None:
    """UserError where the ranks of a run cannot be dealt out to engines that several of them run together."""
    size = rollout.tensor_parallel
    if rollout.placement is Placement.in_process and ranks % size:
        raise UserError(
            f"rollout.tensor_parallel is {size}: so many ranks run one engine together, and there are "
            f"{ranks}, no multiple of it; start {-(-ranks // size) * size} ranks "
            "(trainer.ranks; of an evaluation, ranks), or set another rollout.tensor_parallel"
        )


def check_tracker(tracker: Tracker) -> None:
    if tracker.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "tracker.tensorboard=true but tensorboard is not installed: pip install tensorboard, or "
            "leave it out"
        )


def check_groups(recipe: Recipe | SFTRecipe | EvalRecipe, ranks: int) -> None:
    """Whether so many ranks can share micro-batches as `trainer.sequence_parallel` says."""
    if not isinstance(recipe, EvalRecipe) and (why := recipe.trainer.no_groups(ranks)):
        raise UserError(why)


def count_gpus() -> int:
    """CUDA devices torch can use.

    Asked in another process: importing torch here would fix its thread count before
    OMP_NUM_THREADS is set, and the parent of several ranks should stay small.
    """
    if not glob.glob("/dev/nvidia[0-9]*") and not os.path.exists("/dev/dxg"):
        return 0
    code = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(answer.stdout)


def count_ranks(asked: int | None, gpus: int, key: str = "trainer.ranks") -> int:
    """Ranks of this machine; `key` is the recipe's, for messages."""
    if asked is not None and gpus and asked > gpus:
        raise UserError(f"{key}={asked} but there are {gpus} GPUs for ranks; each needs its own")
    return asked or max(gpus, 1)


def beside_servers(rollout: Rollout, gpus: int) -> int:
    """GPUs that are left for ranks where the run starts servers; UserError where there are none."""
    servers, width = rollout.servers, rollout.tensor_parallel
    if rollout.placement is Placement.in_process or servers.urls:
        return gpus
    if not gpus:
        if servers.gpus:
            raise UserError("rollout.servers.gpus names GPUs, and there are none; leave it out")
        return 0
    if servers.threads is not None:
        raise UserError(
            f"rollout.servers.threads is for servers on CPUs, and there are {gpus} GPUs; leave it out"
        )
    if servers.gpus and max(servers.gpus) >= gpus:
        raise UserError(f"rollout.servers.gpus has GPU {max(servers.gpus)}, and there are {gpus}, from 0 on")
    needed = servers.started(width) * width
    left = min(servers.gpus) if servers.gpus else gpus - needed
    if left < 1:
        raise UserError(
            f"rollout.placement=servers: servers take {needed} GPUs"
            + (", the first among them" if servers.gpus else "")
            + f", and of {gpus} none is left for a rank; lower rollout.servers.count, or name later GPUs in "
            "rollout.servers.gpus"
        )
    return left
