"""Processes that open and resize images, so that several cores do, and the one that trains does not wait.

They are fresh interpreters (worker.py), never forks of a process that holds torch or CUDA. Each has one
thread here that hands it a picture and takes its pixels: results are those of the same function in this
process, bit for bit, and whoever asks gets them in the order asked for.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rlvr_cli.vision.pictures import BadImage

MOST = 8
"""Processes of a rank where nobody says how many."""


class WorkerEnded(RuntimeError):
    """A process that opens images has ended by itself."""


class Worker:
    """One process. It ends when its pipe does, or when it sees that its parent has ended."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "rlvr_cli.vision.worker",
                    f"{theirs.fileno()}",
                    f"{os.getpid()}",
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C goes to the parent only
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )

    def call(self, message: bytes) -> Any:
        """What the function returns in the worker. Raises BadImage as it does, and WorkerEnded."""
        import numpy as np

        try:
            self.connection.send_bytes(message)
            kind, value = self.connection.recv()
            if kind == "array":
                shape, dtype = value
                array = np.empty(shape, dtype)
                self.connection.recv_bytes_into(array.data.cast("B"))
                return array
        except (EOFError, OSError):
            code = self.process.wait()
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            raise WorkerEnded(
                f"a process that opens images has ended {how}; if memory was short, set fewer "
                "model.image_workers (0: none)"
            ) from None
        if kind == "bad":
            raise BadImage(value)
        if kind == "failed":
            raise RuntimeError(f"an image could not be opened: {value}")
        return value

    def close(self) -> None:
        self.connection.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


class Workers:
    def __init__(self, count: int) -> None:
        self.count, self._owner = count, os.getpid()
        self._workers = [Worker() for _ in range(count)]
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for each in self._workers:
            self._free.put(each)
        self._threads = ThreadPoolExecutor(count, "images")

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Of a function that a fresh process can import."""
        return self._threads.submit(self._call, pickle.dumps((function, arguments)))

    def _call(self, message: bytes) -> Any:
        worker = self._free.get()
        try:
            return worker.call(message)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Stop at once; in a process that was forked from the owner nothing is done."""
        if os.getpid() != self._owner:
            return
        self._threads.shutdown(wait=False, cancel_futures=True)
        for each in self._workers:
            each.close()


_open: dict[int, Workers] = {}


def shared(count: int) -> Workers:
    """Those of this process, started when they are first asked for and ended with it."""
    found = _open.get(os.getpid())
    if found is None or found.count < count:
        close()
        found = _open[os.getpid()] = Workers(count)
    return found


@atexit.register
def close() -> None:
    """End the processes; whoever asks again gets new ones."""
    if (found := _open.pop(os.getpid(), None)) is not None:
        found.close()


def usual() -> int:
    """This rank's share of the cores, at most `MOST`; 0 where that is one: it would only change places."""
    share = len(os.sched_getaffinity(0)) // max(int(os.environ.get("LOCAL_WORLD_SIZE") or 1), 1)
    return min(MOST, share) if share > 1 else 0
