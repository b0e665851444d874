"""What is looked at before anything is written or started: model, engine, processors, ranks."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.install import ENGINE
from rlvr_cli.schema import Rollout, RolloutEngine


def resolve_model(path: str, key: str = "model.path", parts: tuple[str, ...] = ("final",)) -> str:
    """A model folder, a run directory's `final/`, a hub id or `builtin:tiny`; local paths must exist.

    `parts` are the folders of a run directory to look into, in order; `key` is the recipe's, for messages.
    """
    if path.startswith("builtin:"):
        if path != "builtin:tiny":
            raise UserError(f"{key}: there is no {path}; the built-in model is builtin:tiny")
        return path
    folder = Path(path).expanduser()
    for candidate in (folder, *(folder / part for part in parts)):
        if (candidate / "config.json").is_file():
            return str(candidate)
    if (folder / "recipe.yaml").is_file():
        raise UserError(f"{key}: the run in {path} has no final/ yet; finish it with `rlvr train {path}`")
    if folder.exists():
        raise UserError(f"{key}: {path} has no config.json, so it is neither a model nor a run directory")
    if _looks_local(path):
        raise UserError(f"{key}: {path} does not exist{_how_to_make(folder)}")
    return path


def _looks_local(path: str) -> bool:
    """`org/name` may be a hub id; a path that names an existing folder, or `runs/`, is not."""
    first = path.split("/")[0]  # not of a Path, which drops a leading ./
    hub_id = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) and first not in (".", "..", "runs")
    return not hub_id or (first != path and Path(first).is_dir())


def _how_to_make(folder: Path) -> str:
    if folder.name not in shipped_recipes.recipes():
        return "; give a Hugging Face folder, a hub id or a run directory"
    verb = "sft" if "sft" in folder.name else "train"
    return f"; run `rlvr {verb} {folder.name}` first"


def check_engine(rollout: Rollout) -> None:
    if rollout.engine is RolloutEngine.vllm and importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"rollout.engine=vllm but vLLM is not installed: {ENGINE['gpu']}, or {ENGINE['cpu']} for CPUs; "
            "or use plain transformers with rollout=hf"
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
