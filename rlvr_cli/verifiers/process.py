"""The parent's handle of one worker process (worker.py is what runs in it)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from pathlib import Path
from time import monotonic

from rlvr_cli.core import plugins
from rlvr_cli.core.types import Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.deadline import Counters, Wants

TICKS = os.sysconf("SC_CLK_TCK")
"""Of /proc, a second."""


@dataclass(slots=True, eq=False)
class Item:
    """A response on its way to a verdict."""

    message: bytes
    """Pickled in the submitting thread: what cannot be pickled is its error and not the pool's."""
    future: Future[Verdict]
    key: Hashable
    attempts: int = 0
    deaths: int = 0
    """Workers that have died of it, or of a batch it was in, by a fault of their own."""
    alone: bool = False
    """It was in a batch without verdicts, and is tried by itself."""
    parts: list[Item] = field(default_factory=list)
    """The items of a batch, which travels as one."""
    whole: bool = False
    """Its parts have one call in common, and are never tried one by one."""
    held: int | None = None
    """Bytes it takes of the pool's room; None: none, or another part does."""


def next_item(queue: deque[Item], batch: int) -> Item:
    """The first item of the queue, or as many as make a batch; one that was tried before stays as it was."""
    parts: list[Item] = []
    while queue and len(parts) < batch and not (queue[0].attempts or queue[0].alone):
        parts.append(queue.popleft())
    if len(parts) < 2:
        return parts[0] if parts else queue.popleft()
    return Item(pickle.dumps([part.message for part in parts]), parts[0].future, None, parts=parts)


class Worker:
    """Created in the pool's dispatcher thread, whose end it would not survive.

    `payload`: the pickled verifiers; `clock_s`: seconds by the clock after which it is killed, `timeout_s` of
    computing being its limit otherwise.
    """

    def __init__(self, config: Verification, payload: bytes, clock_s: float) -> None:
        self.connection, theirs = Pipe()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        arguments = [str(theirs.fileno()), str(os.getpid()), str(config.memory_mb)]
        with theirs:
            self.process = subprocess.Popen(
                # -P: a random.py in the working directory is not the random module.
                [sys.executable, "-P", "-m", "rlvr_cli.verifiers.worker", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C goes to the parent only
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
        self.ready = False
        self.item: Item | None = None
        self.served = 0
        self.deadline = monotonic() + config.start_s
        self.killed_at = self.deadline
        self._limit_s, self._clock_s = config.timeout_s, clock_s
        self._used_s = 0.0
        self._times, self._wants = Counters(f"/proc/{self.process.pid}/stat"), Wants(self.process.pid)
        margin = min(1.0, config.timeout_s / 4)
        with suppress(OSError):  # it is dead already; the dispatcher will read the end of file
            begin = (sys.path, plugins.places(), config.timeout_s - margin, clock_s - margin)
            self.connection.send_bytes(pickle.dumps(begin))
            self.connection.send_bytes(payload)

    def begin(self, item: Item) -> None:
        """Give it an item. OSError where it is dead."""
        self.item, self._used_s = item, self._computed()
        now = monotonic()
        self.deadline, self.killed_at = now + self._limit_s, now + self._clock_s
        self._wants.begin(self._clock_s)
        self.connection.send_bytes(item.message)
        item.attempts += 1

    def has_computed(self) -> bool:
        """Whether its item has used up its time by computing; if not, `deadline` is when it may have."""
        left = self._limit_s - min(1.0, self._limit_s / 4) - (self._computed() - self._used_s)
        now = monotonic()
        if self.killed_at <= now and self._wants():
            self.killed_at = now + 1.0
        self.deadline = min(self.killed_at, now + max(0.05, left))
        return left <= 0

    def _computed(self) -> float:
        """Seconds of computing since it was started; of its own, not of programs it has started."""
        words = self._times.read().rpartition(b")")[2].split()  # behind the program's name
        return (int(words[11]) + int(words[12])) / TICKS if words else self._used_s

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self._times.close()
        self._wants.close()
