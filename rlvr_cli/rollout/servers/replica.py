"""One server as the run sees it: its process, where the run has started it, and what is in flight."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.servers.channel import Channel
from rlvr_cli.rollout.servers.client import Client, Gone
from rlvr_cli.rollout.servers.meet import meet
from rlvr_cli.rollout.servers.names import ABOUT, TOKEN
from rlvr_cli.rollout.servers.serve import command

END_S = 15.0
"""Until the guardian and its server have ended; it gives the server GRACE_S."""
LOOK_S = 0.2
RANK_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "GROUP_RANK",
    "ROLE_RANK",
)
"""A server is no rank of the run that starts it."""


def environment(
    given: Mapping[str, str],
    about: dict[str, Any],
    token: str,
    *,
    gpus: list[int] | None,
    threads: int | None,
) -> dict[str, str]:
    """Variables of a server's processes. `gpus` count among those `given` shows; None: a server on CPUs."""
    mine = {
        name: value
        for name, value in given.items()
        if name not in RANK_VARIABLES and not name.startswith("TORCHELASTIC")
    }
    mine |= {
        TOKEN: token,
        ABOUT: json.dumps(about),
        "VLLM_SERVER_DEV_MODE": "1",  # the routes that a sync needs; the gate stands before them
        "VLLM_NO_USAGE_STATS": "1",
    }
    if gpus is not None:
        shown = given.get("CUDA_VISIBLE_DEVICES", "")
        names = shown.split(",") if shown else [str(n) for n in range(max(gpus, default=0) + 1)]
        mine["CUDA_VISIBLE_DEVICES"] = ",".join(names[gpu] for gpu in gpus)
        return mine
    mine |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}  # bound to cores, servers would share the first ones
    return mine if threads is None else mine | {"OMP_NUM_THREADS": str(threads)}


class Process:
    """A server's processes: started, found ended, ended."""

    def __init__(
        self,
        arguments: dict[str, Any],
        variables: dict[str, str],
        *,
        host: str,
        port: int,
        log: Path | None = None,
    ) -> None:
        """Start them. `log` None: they write to the terminal."""
        guardian = [sys.executable, "-I", str(Path(__file__).with_name("guardian.py")), str(os.getpid())]
        words = [*guardian, *command(arguments, host, port)]
        output: IO[bytes] | None = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = open(log, "ab")  # noqa: SIM115 - closed below
        try:
            # A session of its own: a Ctrl-C in the terminal is the run's affair, which may still sample.
            self._guardian = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=variables,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()
        self.log = log

    @property
    def pid(self) -> int:
        """Of the guardian, whose child the server is."""
        return self._guardian.pid

    def ended(self) -> str | None:
        """How: `killed by SIGKILL`, `exit code 1`; None: it runs."""
        code = self._guardian.poll()
        if code is None:
            return None
        number = -code if code < 0 else code - 128
        if 0 < number < 65:
            return f"killed by {signal.Signals(number).name}"
        return f"exit code {code}"

    def end(self) -> None:
        """Until all of it has ended."""
        self._guardian.terminate()
        try:
            self._guardian.wait(END_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()

    def last_words(self) -> str:
        """The last line of its log that looks like an error's, for a message; empty: none does."""
        if self.log is None or not self.log.is_file():
            return ""
        with open(self.log, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log) - 2**16))
            lines = file.read().decode("utf-8", "replace").splitlines()
        telling = [line.split("] ")[-1].strip() for line in lines if "Error: " in line or "error: " in line]
        return " ".join(telling[-1].split())[:300] if telling else ""


@dataclass(slots=True, kw_only=True, eq=False)
class Replica:
    """A server, and what this rank has asked of it and not got yet."""

    name: str
    """`server 1`, or the address of one that was there already."""
    client: Client
    start: Callable[[], Process] | None = None
    """Starts it anew; None: that is somebody else's to do."""
    process: Process | None = None
    gpu: bool = False
    """It computes on one."""
    workers: int = 1
    """Processes that hold its model between them."""
    channel: Channel | None = None
    """The group in which weights are broadcast to it."""
    upload: bool = False
    """Weights go to it over the network: it may be on another machine."""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """It holds the weights the run is at, and answers."""
    tokens: int = 0
    """In flight: of prompts, and what may still be sampled."""
    samples: int = 0
    """In flight."""
    doubts: list[str] = field(default_factory=list)
    """Why it is no longer `up`, though it may be at work."""
    receipt: Receipt | None = None
    """What proves that it holds the current weights; None: nothing does, or it has read them from disk."""

    async def begin(self, backend: str | None, device: torch.device, limit_s: float) -> None:
        """It is ready to take weights; with a backend by broadcast, in a new group of it and this process."""
        self.leave()
        if backend is None:
            await self.client.begin()
        else:
            self.channel = await meet(self.client, self.workers, backend, device, limit_s)

    def leave(self) -> None:
        """The group, if it is in one."""
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.leave()

    async def answers(self, limit_s: float, beat: Callable[[], None] = lambda: None) -> str:
        """The stamp of its weights, once it answers. TimeoutError after so many seconds, Gone if it ended."""
        async with asyncio.timeout(limit_s):
            while True:
                beat()
                if self.process is not None and (how := self.process.ended()) is not None:
                    words = self.process.last_words()
                    raise Gone(f"it has ended: {how}" + (f" ({words})" if words else ""))
                try:
                    return await self.client.stamp()
                except Gone:
                    await asyncio.sleep(LOOK_S)

    async def end(self, patience_s: float = 1.0) -> str | None:
        """How its process has ended, which may show a moment after its connections; None: it runs."""
        until = time.monotonic() + patience_s
        while self.process is not None and time.monotonic() < until:
            if (how := self.process.ended()) is not None:
                return how
            await asyncio.sleep(LOOK_S / 4)
        return None

    async def restart(self) -> None:
        """End what is left of it and start it anew, where that is for the run to do."""
        if self.process is not None:
            await asyncio.to_thread(self.process.end)
        if self.start is not None:
            self.process = self.start()

    def where_to_look(self) -> str:
        """The end of a message."""
        return (
            f"; log: {self.process.log}" if self.process is not None and self.process.log is not None else ""
        )

    async def close(self) -> None:
        if self.channel is not None and self.process is None:  # it stays
            with suppress(Gone, RuntimeError):
                await self.client.leave()
        self.leave()
        await self.client.close()
        if self.process is not None:
            await asyncio.to_thread(self.process.end)
