"""One engine, several threads: whose turn it is, and whose are the outputs of a step."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any

PAUSE_S = 0.0005
"""Between two looks at whether the other has had its turn."""


class Turns:
    """A vLLM engine that several callers step: each gets its own requests' outputs, whoever made the step.

    What samples gives way, between two steps, to what asks (`asking`): a lock alone may never let it in.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._lock, self._count = RLock(), Lock()
        self._asking = 0
        self._arrived: dict[str, Any] = {}

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Nothing is sampled within it, but by what it calls itself."""
        with self._count:
            self._asking += 1
        try:
            with self._lock:
                yield
        finally:
            with self._count:
                self._asking -= 1

    def step(self, mine: Collection[str]) -> list[Any]:
        """Finished outputs of the requests `mine`: those there are, else of one step of the engine."""
        with self._lock:
            if not (found := self.arrived(mine)):
                for output in self._engine.step():
                    if output.finished:
                        self._arrived[output.request_id] = output
                found = self.arrived(mine)
            return found

    def arrived(self, mine: Collection[str]) -> list[Any]:
        """Finished outputs of the requests `mine`, from the steps of others."""
        with self._lock:
            return [self._arrived.pop(name) for name in list(self._arrived) if name in mine]

    def give_way(self) -> None:
        """Before a step of what is not urgent."""
        while self._asking:
            time.sleep(PAUSE_S)
