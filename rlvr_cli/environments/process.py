"""The parent's handle of one worker process (worker.py is what runs in it)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from pathlib import Path
from time import monotonic
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.environments.environment import Environment


@dataclass(eq=False)
class Worker:
    """One process; created in the thread whose end it would not survive."""

    environment: Environment
    log: Path | None
    episodes: dict[int, float] = field(default_factory=dict)
    """Open episodes -> when the call under way is late; infinite without one."""
    limits: dict[int, float] = field(default_factory=dict)
    """Open episodes -> seconds that the last call could take."""
    retired: bool = False
    """It takes no new episodes."""
    pinged: float | None = None

    def __post_init__(self) -> None:
        self.connection, theirs = Pipe()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        parent = f"{os.getpid()}"
        output: Any = subprocess.DEVNULL if self.log is None else self.log.open("ab")
        with theirs:
            self.process = subprocess.Popen(
                # -P: a random.py in the working directory is not the random module.
                [sys.executable, "-P", "-m", "rlvr_cli.environments.worker", f"{theirs.fileno()}", parent],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # a terminal's Ctrl-C goes to the parent only
                env={**os.environ, "PYTHONPATH": path},
            )
        if self.log is not None:
            output.close()
        self._sender = ThreadPoolExecutor(1)  # a worker that reads nothing must not stop the trainer
        self.send_bytes(pickle.dumps((sys.path, plugins.places())))
        self.send_bytes(pickle.dumps(self.environment))

    def send_bytes(self, message: bytes) -> None:
        def send() -> None:
            with suppress(OSError):  # it is dead; whoever listens reads the end of file
                self.connection.send_bytes(message)

        self._sender.submit(send)

    def ask(self, episode: int, call: str, argument: Any, limit_s: float) -> None:
        self.episodes[episode], self.limits[episode] = monotonic() + limit_s, limit_s
        self.send_bytes(pickle.dumps((episode, call, argument)))

    def drop(self, episode: int) -> None:
        """The episode is over for us; the worker closes it."""
        self.episodes.pop(episode, None)
        self.limits.pop(episode, None)
        self.send_bytes(pickle.dumps((episode, "close", None)))

    def hang_up(self) -> None:
        """It closes its episodes and ends; `stop` sees to it."""
        self._sender.shutdown(wait=False, cancel_futures=True)
        self.connection.close()

    def stop(self, wait_s: float = 0.0) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(wait_s)
        self.process.kill()
        self.process.wait()
