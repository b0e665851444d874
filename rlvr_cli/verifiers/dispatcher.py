"""The thread behind a pool: it starts the workers, gives them items, and owns their deadlines.

It gives a worker one item at a time, so waiting in the queue does not count, and kills a worker that is
late. An item whose worker died is tried once more, since it may be another's victim; if that worker
dies as well, the verdict is `crash`. A batch that brings no verdicts is tried again item by item.

The thread starts the workers itself, because the kernel's "die with your parent" means the thread
that started you.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Pipe, wait
from subprocess import TimeoutExpired
from time import monotonic
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.process import Item, Worker, next_item

FAILED_STARTS = 3
"""In a row, without a worker that comes up in between: the fault is not chance."""
KILLED_STARTS = 30
"""The same, where somebody else has killed them: a machine short of memory may have more to give later."""


class Dispatcher:
    """`payload`: the pickled verifiers; `batch`: items a worker takes at a time, at most.

    `finish` is called once for every item: with its verdict, or with the fault that has ended the pool.
    """

    def __init__(
        self,
        config: Verification,
        payload: bytes,
        batch: int,
        finish: Callable[[Item, Verdict | RuntimeError], None],
    ) -> None:
        self._config, self._payload, self._batch, self._finish = config, payload, batch, finish
        self.fault: str | None = None
        """Why it has ended by itself, if it has."""
        self._lock = threading.Lock()  # guards the next two
        self._queue: deque[Item] = deque()
        self._closed = False
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._waker, self._woken = Pipe()
        self._thread = threading.Thread(target=self._run, name="verifiers", daemon=True)
        self._thread.start()

    def add(self, item: Item) -> None:
        """RuntimeError once it has ended."""
        with self._lock:
            if self._closed:
                raise RuntimeError(self.fault or "the verifier pool is closed")
            self._queue.append(item)
            self._wake()

    def close(self) -> None:
        """Stop at once. Items without a verdict get `crash`."""
        with self._lock:
            self._closed = True
            self._wake()
        self._thread.join()

    def _wake(self) -> None:
        if not self._waker.closed:
            self._waker.send_bytes(b".")

    # The rest runs in the thread.

    def _run(self) -> None:
        try:
            while not self._closed:
                self._staff()
                self._assign()
                deadlines = [worker.deadline for worker in self._workers]
                pause = max(0.0, min(deadlines) - monotonic())
                by_connection: dict[Any, Worker] = {worker.connection: worker for worker in self._workers}
                for heard in wait([self._woken, *by_connection], min(pause, 3600)):
                    if heard is self._woken:
                        self._woken.recv_bytes()
                    else:
                        self._hear(by_connection[heard])
                self._enforce()
        except Exception as error:  # of any kind: without this thread every future would wait forever
            self.fault = self.fault or f"the verifier pool failed: {type(error).__name__}: {error}"
        finally:
            self._end()

    def _staff(self) -> None:
        """Replace the dead and the spent; a spent worker serves until its successor is ready."""
        spent = [worker for worker in self._workers if worker.served >= self._config.recycle_after]
        for _ in range(len(self._workers) - len(spent), max(1, self._config.workers)):
            self._workers.append(Worker(self._config, self._payload))
        surplus = sum(worker.ready for worker in self._workers) - self._config.workers
        for worker in [worker for worker in spent if worker.item is None][: max(0, surplus)]:
            self._remove(worker)

    def _assign(self) -> None:
        idle = [worker for worker in self._workers if worker.ready and worker.item is None]
        idle.sort(key=lambda worker: worker.served)
        for worker in idle:
            with self._lock:
                if not self._queue:
                    return
                worker.item = next_item(self._queue, self._batch)
            worker.deadline = monotonic() + self._config.timeout_s
            try:
                worker.connection.send_bytes(worker.item.message)
                worker.item.attempts += 1
            except OSError:
                self._died(worker)

    def _hear(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._died(worker)
            return
        worker.deadline = float("inf")
        self._failed_starts = 0
        if not worker.ready:
            if message != "ready":
                self.fault = f"a verifier cannot start:\n{message}"
                raise RuntimeError(self.fault)
            worker.ready = True
            return
        item, worker.item = worker.item, None
        assert item is not None
        # After a timeout or a crash nobody knows what its memory holds.
        scored = all(verdict.scored for verdict in message)
        worker.served = worker.served + len(message) if scored else self._config.recycle_after
        again = []
        for part, verdict in zip(item.parts or [item], message, strict=True):
            if item.parts and not verdict.scored:
                again.append(part)
            else:
                self._finish(part, verdict)
        self._alone(again)

    def _enforce(self) -> None:
        """Kill who is late, unless the verdict has come while this process was not looking."""
        now = monotonic()
        for worker in [worker for worker in self._workers if worker.deadline <= now]:
            if worker.connection.poll():
                continue
            item, worker.item = worker.item, None
            if item is None:
                self._died(worker, late=True)
                continue
            self._remove(worker)
            if item.parts:
                self._alone(item.parts)
                continue
            limit = self._config.timeout_s
            detail = f"worker killed after {limit:g} s"
            self._finish(item, Verdict(score=0.0, reason=Reason.timeout, detail=detail, ms=limit * 1000))

    def _died(self, worker: Worker, late: bool = False) -> None:
        item = worker.item
        with suppress(TimeoutExpired):  # it has hung up and is about to say how it ended
            worker.process.wait(0 if late else 1.0)
        self._remove(worker)
        code = worker.process.returncode
        if not worker.ready:
            self._failed_starts += 1
            killed = code == -signal.SIGKILL and not late
            if self._failed_starts >= (KILLED_STARTS if killed else FAILED_STARTS):
                self.fault = (
                    f"verifier workers do not start (exit code {code}); "
                    f"is verification.memory_mb={self._config.memory_mb} enough?"
                )
                raise RuntimeError(self.fault)
        elif item is not None and item.parts:
            self._alone(item.parts)
        elif item is not None and item.attempts < 2:
            with self._lock:
                self._queue.appendleft(item)
        elif item is not None:
            detail = f"worker died (exit code {code})"
            self._finish(item, Verdict(score=0.0, reason=Reason.crash, detail=detail))

    def _alone(self, parts: list[Item]) -> None:
        """Try items of a batch again, each by itself: what one of them does is no other's verdict."""
        with self._lock:
            for part in reversed(parts):
                part.attempts = 1
                self._queue.appendleft(part)

    def _remove(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.stop()

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            items = [worker.item for worker in self._workers if worker.item] + list(self._queue)
            self._queue.clear()
            self._waker.close()
            self._woken.close()
        for worker in list(self._workers):
            self._remove(worker)
        closed = Verdict(score=0.0, reason=Reason.crash, detail="the pool was closed")
        for item in items:
            for part in item.parts or [item]:
                self._finish(part, RuntimeError(self.fault) if self.fault else replace(closed))
