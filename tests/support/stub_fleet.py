"""A fleet of stub servers, sampled from as an engine samples from real ones."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlvr_cli.core.rank_process import free_port
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.servers.answers import Answers
from rlvr_cli.rollout.servers.client import Client
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.loop import Loop
from rlvr_cli.rollout.servers.parcels import Cargo
from rlvr_cli.rollout.servers.replica import Process, Replica
from rlvr_cli.rollout.servers.sampler import Sampler
from rlvr_cli.schema import Servers

STUB = Path(__file__).with_name("stub_server.py")


class Stub(Process):
    """A stub server in the place of a real one and its guardian."""

    def __init__(self, port: int, ms: float) -> None:
        self.log = None
        self._guardian: Any = subprocess.Popen([sys.executable, "-I", str(STUB), str(port), str(ms)])


class Words:
    """Text of tokens."""

    def __call__(self, tokens: list[int]) -> str:
        return " ".join(map(str, tokens))


@contextmanager
def stub_fleet(count: int, ms: float = 1.0, **settings: Any) -> Iterator[tuple[Loop, Fleet, Sampler]]:
    """So many servers at work; ended with the block."""
    loop = Loop("stubs")
    given = Servers(**{"start_s": 20, "timeout_s": 5} | settings)

    async def opened() -> Fleet:
        replicas = []
        for number in range(count):
            port = free_port()
            client = Client(f"http://127.0.0.1:{port}", "", given.timeout_s)
            start = lambda port=port: Stub(port, ms)  # noqa: E731
            replicas.append(Replica(name=f"server {number}", client=client, start=start, process=start()))
        fleet = Fleet(replicas, given, Cargo(stamp="run.0.0"), leads=True, room=16)
        for replica in replicas:
            await replica.answers(given.start_s)
            await fleet.equip(replica)
        return fleet

    fleet = loop.run(opened())
    text: Any = Words()
    try:
        yield loop, fleet, Sampler(fleet, Answers(text, run="run", strict=True), [1], name="test")
    finally:
        loop.run(fleet.close())
        loop.close()


def sampled(loop: Loop, sampler: Sampler, requests: list[Request], sampling: Sampling) -> Any:
    """(key, completions) in the order they came, with what goes wrong raised."""
    done: queue.SimpleQueue[tuple[int, list[Completion]]] = queue.SimpleQueue()
    loop.run(sampler.serve(sampler.order(requests, sampling, done)))
    return [done.get_nowait() for _ in range(done.qsize())]
