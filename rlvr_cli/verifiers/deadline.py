"""Two clocks over a verdict: the time it computes, which is the response's doing, and the time that passes.

They ring in the worker's own process, so they end whatever Python code runs. What is deaf to them, inside C
code, the dispatcher kills. On an overloaded machine a process that wants to compute and may not is given more
of the time that passes: there too a costly response is to be refused, and not left out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

Found = TypeVar("Found")
REPEAT_S = 0.5
"""They ring again until they are heard: sympy has handlers that swallow an exception."""
STARVED = 5.0
"""Most times the time that passes is given to a process that wants to compute all along."""
_armed = False
_wants: Wants | None = None


class TooLate(BaseException):
    """Time has passed. Not an Exception: `except Exception` in a library must not take it for its own."""


class TooMuch(TooLate):
    """All of it was spent computing."""


class Wants:
    """Whether a process has wanted to compute ever since `begin`, and is kept from it by others."""

    def __init__(self, process: int | str = "self") -> None:
        self._status = Counters(f"/proc/{process}/schedstat")

    def begin(self, passing_s: float) -> None:
        self._began, self._before = monotonic(), self._seconds()
        self._end = self._began + STARVED * passing_s

    def __call__(self) -> bool:
        now, wanted = monotonic(), self._seconds() - self._before
        return now < self._end and wanted >= 0.5 * (now - self._began)

    def close(self) -> None:
        self._status.close()

    def _seconds(self) -> float:
        """On a core, and waiting for one; 0 on a kernel that does not count it."""
        return sum(map(int, self._status.read().split()[:2])) / 1e9


class Counters:
    """A file of /proc that is read again and again, kept open for that: it is asked with every verdict."""

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = -1

    def read(self) -> bytes:
        """Its text; none where the kernel has no such file, or the process has ended."""
        try:
            return os.pread(self._descriptor, 1024, 0)
        except OSError:
            return b""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


OWN = Wants()


def _ring(signum: int, frame: object) -> None:
    if _armed and not (signum == signal.SIGALRM and _wants is not None and _wants()):
        raise TooMuch if signum == signal.SIGPROF else TooLate


def listen() -> None:
    """Before the first `within`, in the main thread."""
    signal.signal(signal.SIGALRM, _ring)
    signal.signal(signal.SIGPROF, _ring)


def within(call: Callable[[], Found], computing_s: float | None, passing_s: float) -> Found:
    """What `call` returns, or TooMuch after `computing_s` of the process's time (None: however long) or
    TooLate after `passing_s` by the clock."""
    global _armed, _wants
    try:
        _wants = OWN if computing_s else None
        OWN.begin(passing_s)
        _armed = True
        signal.setitimer(signal.ITIMER_PROF, computing_s or 0.0, REPEAT_S)
        signal.setitimer(signal.ITIMER_REAL, passing_s, REPEAT_S)
        return call()
    finally:
        _armed = False  # first: one that rings in between must not be heard by somebody else
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
