"""What works on this machine. Every check is real and runs in processes of its own (`check_process.py`).

A check that crashes, hangs or prints costs its own line and nothing else; the parent imports no torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from time import monotonic
from typing import Any, BinaryIO

from rlvr_cli.core.rank_process import free_port, library_defaults, rank_environment
from rlvr_cli.doctor.check_result import CheckResult, Status

ROOM = "rlvr_cli.doctor"
LOG_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    entry: str
    """`module:function`; the function returns findings."""
    limit: float = 60.0
    """Seconds until it counts as hanging."""
    fix: str = ""
    """What to do when it breaks off without findings of its own."""
    needed: bool = True
    ranks: int = 1
    environment: dict[str, str] = field(default_factory=dict)


MACHINE = Check(
    name="machine", entry=f"{ROOM}.machine:machine", limit=120, fix="python -c 'import torch' shows the cause"
)
LIGHT = (
    Check(name="packages", entry=f"{ROOM}.machine:packages"),
    Check(name="disk", entry=f"{ROOM}.machine:disk", fix="a file system does not answer: see df"),
    Check(name="servers", entry=f"{ROOM}.servers:servers", needed=False),
    Check(name="sandbox", entry=f"{ROOM}.services:sandbox", needed=False),
    Check(name="wandb", entry=f"{ROOM}.services:wandb", needed=False),
    Check(name="hub", entry=f"{ROOM}.services:hub", needed=False),
)


ON_GPUS = (
    Check(name="driver", entry=f"{ROOM}.gpu:driver"),
    Check(name="compiler", entry=f"{ROOM}.gpu:compiler", limit=90),
)


def examine(skip_vllm: bool) -> Iterator[CheckResult]:
    """Findings of all checks, cheap ones first; one at a time, so that none slows another down."""
    machine = ask(MACHINE, gpus=0)
    yield from machine
    gpus = int(machine[0].facts.get("gpus", 0))
    there = gpus or machine[0].facts.get("driver_gpus")
    for check in (*LIGHT, *(ON_GPUS if there else ())):
        yield from ask(check, gpus)
    for check in collectives(gpus):
        yield from ask(check, gpus)
    vllm = Check(
        name="vllm",
        entry=f"{ROOM}.training:vllm",
        limit=600 if gpus else 300,  # compiles its graphs on a GPU
        fix="train without vLLM: rollout=hf",
    )
    if skip_vllm:
        yield CheckResult(name=vllm.name, status=Status.skipped, detail="not started (--skip-vllm)")
    else:
        yield from ask(vllm, gpus)


def collectives(gpus: int) -> list[Check]:
    """gloo between two processes; NCCL between as many as there are GPUs."""
    entry = f"{ROOM}.training:collective"
    gloo = Check(
        name="gloo",
        entry=entry,
        limit=120,
        ranks=2,
        environment={"CUDA_VISIBLE_DEVICES": ""},
        needed=not gpus,
        fix="if the host name has no address: GLOO_SOCKET_IFNAME=lo; until it works: trainer.ranks=1",
    )
    if not gpus:
        return [gloo]
    fix = "NCCL_DEBUG=INFO shows the cause; often NCCL_P2P_DISABLE=1 or docker --shm-size=8g helps"
    return [gloo, Check(name="nccl", entry=entry, limit=240, ranks=gpus, fix=fix)]


def ask(check: Check, gpus: int) -> list[CheckResult]:
    """Run a check in `check.ranks` processes with what ranks of a run find in their environment."""
    seen = 0 if check.environment.get("CUDA_VISIBLE_DEVICES") == "" else gpus
    common = os.environ | library_defaults(check.ranks, seen) | check.environment
    port = free_port()
    processes, readers = [], []
    # In memory: a full or unwritable disk is among the things to find.
    with open(os.memfd_create("log"), "w+b") as log:
        try:
            for number in range(check.ranks):
                reader, writer = Pipe(duplex=False)
                readers.append(reader)
                processes.append(
                    _start(check, writer, common | rank_environment(number, check.ranks, port), log)
                )
                writer.close()  # so that the reader sees the end of the process
            reply = _collect(readers, processes, check.limit)
        finally:
            _end(processes)
            for reader in readers:
                reader.close()
        log.seek(0)
        said = log.read().decode(errors="replace").splitlines()
    if "findings" in reply:
        return [CheckResult(**one | {"status": Status(one["status"])}) for one in reply["findings"]]
    end = [line[:300] for line in said if line.strip(" ^~")][-LOG_LINES:]  # not the carets of tracebacks
    detail, needed = reply["error"], check.needed
    return [
        CheckResult(
            name=check.name, status=Status.failed, detail=detail, fix=check.fix, needed=needed, log=end
        )
    ]


def _start(check: Check, writer: Connection, env: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
    descriptor = writer.fileno()
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rlvr_cli.doctor.check_process",
            check.entry,
            str(descriptor),
            str(os.getpid()),
        ],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[descriptor],
        start_new_session=True,
    )


def _collect(
    readers: list[Connection], processes: list[subprocess.Popen[bytes]], limit: float
) -> dict[str, Any]:
    """Rank 0's reply once all ranks have answered; the first error, of which the others are echoes."""
    deadline = monotonic() + limit
    replies: dict[int, dict[str, Any]] = {}
    while len(replies) < len(readers):
        waiting = [reader for number, reader in enumerate(readers) if number not in replies]
        ready = wait(waiting, max(deadline - monotonic(), 0))
        if not ready:
            return {"error": f"no answer within {limit:g} s"}
        for reader in ready:
            number = readers.index(reader)  # type: ignore[arg-type]
            try:
                replies[number] = json.loads(readers[number].recv_bytes())
            except EOFError:
                return {"error": _ending(processes[number].wait())}
            if "error" in replies[number]:
                return replies[number]
    return replies[0]


def _ending(code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"its process {how}"


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End each process and whatever it started; they wait for this after their answer."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
