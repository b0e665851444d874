"""GPUs of this machine and their memory, as the driver tells: without torch."""

from __future__ import annotations

import subprocess

from rlvr_cli.init.sizes import machine_memory


def gpus_and_memory() -> tuple[int, int]:
    """(GPUs, bytes of the smallest of them); without GPUs 0 and the memory of the machine."""
    ask = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout.split()
        found = [int(each) * 2**20 for each in told]
    except (OSError, ValueError, subprocess.SubprocessError):
        found = []
    return (len(found), min(found)) if found else (0, machine_memory())
