"""The engine in threads beside the trainer (`rollout.overlap=beside`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

import torch

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Engine, Request, Sampling

POLL_S = 0.05
Item = tuple[int, list[Completion]]


class Beside:
    """Drives `Engine.generate` and lays what it finishes into a queue.

    A thread does nothing else: no collectives, no verifiers, no tracker. Its error is raised where the main
    thread takes from the queue or ends it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None
        self._queue: SimpleQueue[Item | BaseException | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self.running = False
        """Begun and not ended, also where all it was asked for is done."""
        self._open = 0
        """Threads whose end was not taken from the queue."""
        self._ending = Event()
        self.steps = 0
        """Steps of the engine so far."""

    def start(self, requests: list[Request], sampling: Sampling) -> None:
        """Sample what is asked for until `end`, beside what is sampled already."""
        self._ending.clear()
        self.running = True
        self._open += 1
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(Thread(target=self._run, args=(requests, sampling), name="rollout", daemon=True))
        self._threads[-1].start()

    def arrived(self, enough: Callable[[], bool]) -> Iterator[Item]:
        """(request key, completions) as they are finished, until `enough` says yes or all are there."""
        while self._open and not enough():
            try:
                item = self._queue.get(timeout=POLL_S)
            except Empty:
                continue
            if item is None:
                self._open -= 1
            else:
                yield _checked(item)

    def end(self, *, finish: bool = False) -> list[Item]:
        """What was not taken yet, unfinished requests as far as they are; with `finish` all of them whole."""
        if not finish:
            self._ending.set()
        self._join()
        left: list[Item] = []
        while self._open:
            if (item := self._queue.get()) is None:
                self._open -= 1
            else:
                left.append(_checked(item))
        return left

    def close(self) -> None:
        """End it, whatever has become of it."""
        self._ending.set()
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads, self.running = [], False

    def _run(self, requests: list[Request], sampling: Sampling) -> None:
        try:
            if self._device is not None:  # a thread begins with the first one
                torch.cuda.set_device(self._device)
            for item in self._engine.generate(requests, sampling, self._enough):
                self._queue.put(item)
        except BaseException as error:
            self._queue.put(error)
        finally:
            self._queue.put(None)

    def _enough(self) -> bool:
        self.steps += 1
        return self._ending.is_set()


def _checked(item: Item | BaseException) -> Item:
    if isinstance(item, BaseException):
        raise item
    return item
