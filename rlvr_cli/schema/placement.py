"""Where the rollout engine lives: in the trainer's process, or in servers beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

BUCKET = 2**28
"""Bytes in which weights go to servers at once, unless one tensor has more."""


class Placement(Enum):
    in_process = "in_process"
    servers = "servers"


class Transfer(Enum):
    """How weights come to servers."""

    auto = "auto"
    memory = "memory"
    broadcast = "broadcast"


@dataclass(kw_only=True)
class Servers:
    """vLLM in processes of its own, for `rollout.placement=servers`."""

    count: int | None = None
    """Servers that the run starts on each of its machines; null: as many as `gpus` has room for, else 1."""
    gpus: list[int] = field(default_factory=list)
    """GPUs of the servers that the run starts, none of them a rank's; empty: the first after the ranks'."""
    threads: int | None = None
    """Threads of each server on CPUs; null: the cores divided by the servers."""
    urls: list[str] = field(default_factory=list)
    """Servers started elsewhere with `rlvr rollout-server`, in the place of those that the run starts."""
    transfer: Transfer = Transfer.auto
    """How weights come to servers: `memory`, by files in host memory (over HTTP with `urls`); `broadcast`,
    through a process group of trainer and server, NCCL from GPU to GPU, gloo where one has none; `auto`,
    broadcast where both have GPUs, else memory."""
    restarts: int = 10
    """Ends of servers that a run gets over, all of them together; at the next one it ends."""
    start_s: float = 600.0
    """Seconds a server has to start, or to be reached again."""
    timeout_s: float = 120.0
    """Seconds without an answer after which a server counts as dead."""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"rollout.servers.count is {self.count}; it must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"rollout.servers.threads is {self.threads}; it must be at least 1")
        if self.restarts < 0:
            raise ValueError(f"rollout.servers.restarts is {self.restarts}; it must be at least 0")
        for name in ("start_s", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"rollout.servers.{name} is {getattr(self, name):g}; it must be above 0")
        for url in self.urls:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError(f"rollout.servers.urls: '{url}' is no address such as http://127.0.0.1:8710")
        for name, values in (("urls", [url.rstrip("/") for url in self.urls]), ("gpus", self.gpus)):
            if len({*values}) < len(values):
                raise ValueError(f"rollout.servers.{name} has an entry twice: {', '.join(map(str, values))}")
        if self.gpus and min(self.gpus) < 0:
            raise ValueError(f"rollout.servers.gpus has {min(self.gpus)}; GPUs are counted from 0")
        own = [name for name in ("count", "gpus", "threads") if getattr(self, name) not in (None, [])]
        if self.urls and own:
            raise ValueError(
                f"rollout.servers.{own[0]} is for servers that the run starts, and rollout.servers.urls "
                "names some that are there already: leave one of the two out"
            )

    def started(self, tensor_parallel: int = 1) -> int:
        """Servers that the run starts on a machine, each on so many GPUs."""
        if self.urls:
            return 0
        return self.count or max(1, len(self.gpus) // tensor_parallel)
