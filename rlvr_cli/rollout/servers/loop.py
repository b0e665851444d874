"""An event loop in a thread of its own, asked from the trainer's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from rlvr_cli.core.heartbeat import heart

T = TypeVar("T")
BEAT_S = 0.2


class Loop:
    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result. The work has a limit of its own: this thread shows signs of life meanwhile."""
        return self.wait(self.start(work))

    def wait(self, future: Future[T]) -> T:
        """The result of what was started."""
        try:
            while True:
                heart.beat()
                try:
                    return future.result(BEAT_S)
                except TimeoutError:
                    if future.done():
                        raise
        except BaseException:
            future.cancel()  # Ctrl-C in the middle
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
