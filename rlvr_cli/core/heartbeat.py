"""Signs of life of a rank, for a watchdog in another process (launch/watchdog.py) to read.

A beat is a write of a few bytes into memory that both share, no system call: cheap enough for every step
of an engine. Times are of the monotonic clock, which all processes of a machine have in common.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_LAYOUT = struct.Struct("<ddqq32s32s")
_TIME = struct.Struct("<d")
START = "start"
"""The phase of a rank that has not entered one yet: it loads, compiles, downloads."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a rank said last."""

    time: float
    """Monotonic seconds at the last sign of life."""
    since: float
    """Monotonic seconds at which it entered its phase."""
    done: int
    """Finished steps."""
    missing: int
    """Verdicts it still waits for."""
    phase: str
    """Empty: between two phases."""
    waits: str
    """The collective in which it waits for the other ranks; empty: it does not."""


def shared_memory() -> int:
    """A descriptor of memory for one heart, to be handed to a child process."""
    descriptor = os.memfd_create("rlvr-heartbeat")
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


class Heart:
    """One rank's beats: that rank writes them, its watchdog reads them."""

    def __init__(self, descriptor: int = -1) -> None:
        """`descriptor`: of `shared_memory`, where another process may beat already; -1: memory of its own."""
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._done = self._missing = 0
        self._phase, self._waits, self._since = START, "", time.monotonic()
        if descriptor == -1:
            self._write()

    def attach(self, descriptor: int) -> None:
        """Beat into this memory from now on."""
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._write()

    def beat(self) -> None:
        """It goes on."""
        # Not pack_into: it writes zeros first, and a rank that loses its core just then would look dead.
        self._memory[: _TIME.size] = _TIME.pack(time.monotonic())

    def enter(self, phase: str | None) -> None:
        """Another phase begins; None: one has ended and the next has not begun."""
        self._phase, self._missing, self._since = phase or "", 0, time.monotonic()
        self._write()

    def step(self, done: int) -> None:
        """So many steps are finished."""
        self._done = done
        self._write()

    def verdicts(self, missing: int) -> None:
        """So many verdicts are still to come."""
        self._missing = missing
        self._write()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Within it, silence is the other ranks' doing."""
        self._waits = what
        self._write()
        try:
            yield
        finally:
            self._waits = ""
            self._write()

    def read(self) -> Beat:
        """The last beat. Twice the same is no beat in the making."""
        raw = None
        while raw != (raw := bytes(self._memory[: _LAYOUT.size])):
            pass
        beat, since, done, missing, phase, waits = _LAYOUT.unpack(raw)
        return Beat(beat, since, done, missing, _text(phase), _text(waits))

    def _write(self) -> None:
        fields = (self._since, self._done, self._missing, self._phase.encode(), self._waits.encode())
        self._memory[: _LAYOUT.size] = _LAYOUT.pack(time.monotonic(), *fields)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


heart = Heart()
"""This process's own."""
