"""Ranks that somebody else has started: torchrun, or srun within a Slurm step."""

from __future__ import annotations

import os
import re

from rlvr_cli.core.errors import UserError


def joined_ranks(environ: os._Environ[str] | dict[str, str]) -> dict[str, str] | None:
    """The rank variables of a process that torchrun or srun started; None: we are the launcher."""
    if "RANK" in environ and "WORLD_SIZE" in environ:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if absent := [name for name in names if name not in environ]:
            raise UserError(f"RANK is set but {', '.join(absent)} is not; unset RANK or start with torchrun")
        return {name: environ[name] for name in names}
    # SLURM_NTASKS is also set in a batch script, where nobody started the other tasks: only srun
    # sets the step's variables.
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if "SLURM_PROCID" not in environ or tasks < 2:
        return None
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST")
    return {
        "RANK": environ["SLURM_PROCID"],
        "LOCAL_RANK": environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": environ["SLURM_STEP_TASKS_PER_NODE"].split("(")[0].split(",")[0],
        "MASTER_ADDR": first_host(nodes) if nodes else environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(slurm_port(int(environ["SLURM_JOB_ID"]), int(environ.get("SLURM_STEP_ID", "0")))),
    }


def slurm_port(job: int, step: int) -> int:
    """The same for all tasks of a step, another for the other steps and for jobs of near numbers."""
    return 20000 + (job + 97 * step) % 20000


def on_its_gpu(ranks: dict[str, str], gpus: int) -> dict[str, str]:
    """The rank variables with LOCAL_RANK as torch, DeepSpeed and vLLM take it: the number of the rank's GPU
    among the `gpus` this process sees. UserError where these are too few.

    Where each task is shown one GPU of its own (`srun --gpus-per-task=1`), that one has number 0.
    """
    local = int(ranks["LOCAL_WORLD_SIZE"])
    if gpus == 1 < local:
        return ranks | {"LOCAL_RANK": "0"}
    if 0 < gpus < local:
        raise UserError(
            f"{local} ranks were started on this machine, but each sees {gpus} GPUs, and a rank needs one of "
            f"its own; start {gpus} (torchrun --nproc-per-node {gpus}, srun --ntasks-per-node {gpus}), or "
            "show each its own (srun --gpus-per-task=1)"
        )
    return ranks


def first_host(nodes: str) -> str:
    """`gpu[003-010,12],cpu1` -> `gpu003`"""
    return re.sub(r"\[(\w+).*", r"\1", nodes.split(",")[0])
