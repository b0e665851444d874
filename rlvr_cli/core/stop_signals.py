"""SIGINT and SIGTERM in the hands of whoever has processes to pass them on to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def taken(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Both go to `handler` until the block ends. In the main thread only, as Python has it."""
    previous = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
