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

from rlvr_cli.core.types import Verdict
from rlvr_cli.schema import Verification


@dataclass(slots=True, eq=False)
class Item:
    """A response on its way to a verdict."""

    message: bytes
    """Pickled in the submitting thread: what cannot be pickled is its error and not the pool's."""
    future: Future[Verdict]
    key: Hashable
    attempts: int = 0
    parts: list[Item] = field(default_factory=list)
    """The items of a batch, which travels as one."""


def next_item(queue: deque[Item], batch: int) -> Item:
    """The first item of the queue, or as many as make a batch; one that was tried before stays as it was."""
    parts: list[Item] = []
    while queue and len(parts) < batch and not queue[0].attempts:
        parts.append(queue.popleft())
    if len(parts) < 2:
        return parts[0] if parts else queue.popleft()
    return Item(pickle.dumps([part.message for part in parts]), parts[0].future, None, parts=parts)


class Worker:
    """Created in the pool's dispatcher thread, whose end it would not survive.

    `payload`: the pickled verifiers.
    """

    def __init__(self, config: Verification, payload: bytes) -> None:
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
        soft_s = config.timeout_s - min(1.0, config.timeout_s / 4)
        with suppress(OSError):  # it is dead already; the dispatcher will read the end of file
            self.connection.send_bytes(pickle.dumps((sys.path, soft_s)))
            self.connection.send_bytes(payload)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()
