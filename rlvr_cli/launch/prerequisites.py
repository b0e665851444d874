"""What is looked at before anything is written or started: model, engine, processors, ranks."""

from __future__ import annotations

import glob
import importlib.util
import os
import subprocess
import sys

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.install import ENGINE
from rlvr_cli.schema import Rollout, RolloutEngine, Tracker


def check_engine(rollout: Rollout) -> None:
    if rollout.engine is RolloutEngine.vllm and importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"rollout.engine=vllm but vLLM is not installed: {ENGINE['gpu']}, or {ENGINE['cpu']} for CPUs; "
            "or use plain transformers with rollout=hf"
        )


def check_tracker(tracker: Tracker) -> None:
    if tracker.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "tracker.tensorboard=true but tensorboard is not installed: pip install tensorboard, or "
            "leave it out"
        )


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
        raise UserError(f"{key}={asked} but there are {gpus} GPUs; each rank needs its own")
    return asked or max(gpus, 1)
