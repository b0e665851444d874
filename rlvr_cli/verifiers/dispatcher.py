"""The thread behind a pool: it starts the workers, gives them items, and owns their deadlines.

It gives a worker one item at a time, so waiting in the queue does not count, and kills a worker that is
late. An item whose worker died is tried once more, since it may be another's victim; if that worker dies as
well, the verdict is `refused` where both died by a fault of their own, others are judged, and it is no code
of the user's that died; it is `crash` otherwise. A batch that brings no verdicts is tried again item by
item, unless one call judges all of it. While a verifier's server is down, one item at a time asks for it
(outage.py) and the others wait.

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
from rlvr_cli.verifiers.answer import MEMORY, Answer
from rlvr_cli.verifiers.outage import Outage
from rlvr_cli.verifiers.process import Item, Worker, next_item

FAILED_STARTS = 3
"""Workers in a row that end before they have judged anything: the fault is not chance."""
KILLED_STARTS = 30
"""The same, where somebody else has killed them: a machine short of memory may have more to give later."""


class Dispatcher:
    """`payload`: the pickled verifiers; `batch`: items a worker takes at a time, at most; `waits`: what they
    wait for is no response's doing; `forgives`: nor is the death of a worker; `patience_s`: how
    long a server that is down is waited for.

    `finish` is called once for every item: with its verdict, or with the fault that has ended the pool.
    """

    def __init__(
        self,
        config: Verification,
        payload: bytes,
        batch: int,
        finish: Callable[[Item, Verdict | RuntimeError], None],
        *,
        waits: bool = False,
        forgives: bool = False,
        patience_s: float = 0.0,
    ) -> None:
        self._config, self._payload, self._batch, self._finish = config, payload, batch, finish
        self.fault: str | None = None
        """Why it has ended by itself, if it has."""
        self._lock = threading.Lock()  # guards the next two
        self._queue: deque[Item] = deque()
        self._closed = False
        self._workers: list[Worker] = []
        self._waits, self._forgives = waits, forgives
        self._clock_s = config.timeout_s if waits else 2 * config.timeout_s
        self._failed_starts = 0
        self._proven = False
        """Something has been judged: the verifiers work on this machine."""
        self.outage = Outage(patience_s)
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
                moments = [worker.deadline for worker in self._workers]
                if self.outage.going_on and self._queue and not any(w.item for w in self._workers):
                    moments.append(max(self.outage.again_at, monotonic() + 0.05))
                pause = max(0.0, min(moments) - monotonic())
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
            self._workers.append(Worker(self._config, self._payload, self._clock_s))
        surplus = sum(worker.ready for worker in self._workers) - self._config.workers
        for worker in [worker for worker in spent if worker.item is None][: max(0, surplus)]:
            self._remove(worker)

    def _assign(self) -> None:
        idle = [worker for worker in self._workers if worker.ready and worker.item is None]
        idle.sort(key=lambda worker: worker.served)
        if self.outage.going_on:
            busy = any(worker.item for worker in self._workers)
            idle = [] if busy or monotonic() < self.outage.again_at else idle[:1]
        for worker in idle:
            with self._lock:
                if not self._queue:
                    return
                item = next_item(self._queue, self._batch)
            try:
                worker.begin(item)
            except OSError:  # it died before it had it
                worker.item = None
                self._retry(item)
                self._died(worker)

    def _hear(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._died(worker)
            return
        worker.deadline = float("inf")
        if not worker.ready:
            if message != "ready":
                self.fault = f"a verifier cannot start:\n{message}"
                raise RuntimeError(self.fault)
            worker.ready = True
            return
        item, worker.item = worker.item, None
        assert item is not None
        self._failed_starts = 0
        self._answered(worker, item, message)

    def _answered(self, worker: Worker, item: Item, answer: Answer) -> None:
        spent = answer.spent
        worker.served = self._config.recycle_after if spent else worker.served + len(answer.verdicts)
        if answer.unreachable is not None:
            self._unreachable(item.parts or [item], answer.unreachable)
        elif answer.again and item.attempts < 2:
            self._retry(item)
        elif answer.again:
            self._finish_all(item.parts or [item], Reason.refused, MEMORY)
        else:
            self.outage.over()
            self._proven = self._proven or not spent
            again = []
            for part, verdict in zip(item.parts or [item], answer.verdicts, strict=True):
                if item.parts and not item.whole and verdict.missing:
                    again.append(part)
                else:
                    self._finish(part, verdict)
            self._alone(again)

    def _unreachable(self, items: list[Item], cause: str) -> None:
        """The server of an item is down: wait for it, or where that has taken too long, give all up."""
        self.outage.failed(cause)
        with self._lock:
            self._queue.extendleft(reversed(items))
            lost = list(self._queue) if self.outage.hopeless else []
            if lost:
                self._queue.clear()
        for item in items:
            item.attempts = 0
        self._finish_all(lost, Reason.crash, self.outage.detail)

    def _finish_all(self, items: list[Item], reason: Reason, detail: str) -> None:
        for item in items:
            self._finish(item, Verdict(score=0.0, reason=reason, detail=detail))

    def _enforce(self) -> None:
        """Kill who is late, unless the verdict has come while this process was not looking."""
        now = monotonic()
        for worker in [worker for worker in self._workers if worker.deadline <= now]:
            if worker.connection.poll():
                continue
            if worker.item is None:
                self._died(worker, late=True)
            elif (computed := not self._waits and worker.has_computed()) or worker.killed_at <= now:
                self._late(worker, computed)

    def _late(self, worker: Worker, computed: bool) -> None:
        """Kill a worker that does not hear its clocks: of its item's doing if it has `computed` all along."""
        item = worker.item
        assert item is not None
        self._remove(worker)
        if item.parts and not item.whole:
            self._alone(item.parts)
            return
        reason = Reason.refused if computed else Reason.timeout
        limit = self._config.timeout_s if computed else self._clock_s
        detail = f"worker killed after {limit:g} s" + (" of computing" if computed else "")
        for part in item.parts or [item]:
            self._finish(part, Verdict(score=0.0, reason=reason, detail=detail, ms=limit * 1000))

    def _died(self, worker: Worker, late: bool = False) -> None:
        item = worker.item
        with suppress(TimeoutExpired):  # it has hung up and is about to say how it ended
            worker.process.wait(0 if late else 1.0)
        self._remove(worker)
        code = worker.process.returncode
        killed = code == -signal.SIGKILL and not late
        if item is None or not self._proven:
            self._failed_starts += 1
            if self._failed_starts >= (KILLED_STARTS if killed else FAILED_STARTS):
                if item is not None:
                    self._retry(item)  # for `_end` to find
                self.fault = (
                    f"verifier workers do not start (exit code {code}); "
                    f"is verification.memory_mb={self._config.memory_mb} enough?"
                )
                raise RuntimeError(self.fault)
        for part in [] if item is None else item.parts or [item]:
            part.deaths += not killed
        if item is None:
            return
        parts = item.parts or [item]
        if item.parts and not item.whole:
            self._alone(item.parts)
        elif item.attempts < 2:
            self._retry(item)
        else:
            caused = parts[0].deaths > 1 and self._proven and not self._forgives
            reason = Reason.refused if caused else Reason.crash
            self._finish_all(parts, reason, f"worker died (exit code {code})")

    def _retry(self, item: Item) -> None:
        with self._lock:
            self._queue.appendleft(item)

    def _alone(self, parts: list[Item]) -> None:
        """Try items of a batch again, each by itself: what one of them does is no other's verdict."""
        with self._lock:
            for part in reversed(parts):
                part.alone, part.attempts = True, min(1, part.deaths)
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
