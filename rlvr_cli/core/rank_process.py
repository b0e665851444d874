"""What every process of a run begins with: its place among the ranks, defaults of libraries, its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket


def rank_environment(number: int, count: int, port: int) -> dict[str, str]:
    """Those of rank `number` of `count` on this machine, who meet at `port`."""
    return {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Names of torch's allocator settings; the first one that is set counts."""


def library_defaults(ranks: int, gpus: int) -> dict[str, str]:
    """Defaults for variables that libraries read when imported; what the user has set stays.

    `ranks`: those of this machine; `gpus`: those this process sees.
    """
    cores = len(os.sched_getaffinity(0))
    given = set(os.environ)
    defaults = {
        "OMP_NUM_THREADS": str(max(cores // ranks, 1)),
        "TOKENIZERS_PARALLELISM": "false",  # its threads and our forks do not mix
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in the rank and takes weights by reference
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if not gpus:
        defaults |= {
            "DS_ACCELERATOR": "cpu",
            "TORCHDYNAMO_DISABLE": "1",  # compiling costs more than it saves
            # Idle OpenMP threads spin a little, then sleep: spinning on, as they do by default, made a step
            # ten times slower beside another busy process; sleeping at once, half as fast on a quiet machine.
            "GOMP_SPINCOUNT": "20000",
        }
    elif not given.intersection(ALLOCATOR):
        # No two micro-batches have the same shape: blocks of fixed size would leave holes between them. vLLM
        # switches this off around the memory it gives back while it sleeps.
        defaults[ALLOCATOR[0]] = "expandable_segments:True"
    if "TORCHELASTIC_RUN_ID" in given and ranks > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        given.remove("OMP_NUM_THREADS")  # torchrun's own default: optimizers on the CPU would have one thread
    return {name: value for name, value in defaults.items() if name not in given}


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, however that happens."""
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
