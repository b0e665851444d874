"""The child side of pool.py: `python -m rlvr_cli.verifiers.worker <descriptor> <parent pid>`.

A plain new process, so that nothing of the parent (torch, CUDA, its __main__, its threads) is in it.
Its memory is limited, it ends with its parent, and an alarm interrupts a verdict that takes too long.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from rlvr_cli.core.types import Reason, Verdict

PR_SET_PDEATHSIG = 1
REPEAT_S = 0.5
"""The alarm rings again until it is heard: sympy has handlers that swallow an exception."""


class SoftDeadline(BaseException):
    """Not an Exception: `except Exception` in a library must not take it for its own."""


def _ring(signum: int, frame: object) -> None:
    raise SoftDeadline


def harden(parent: int, memory_mb: int) -> None:
    """Bind this process to its parent's life, to a memory limit and to the parent's will alone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    # Ctrl-C and a scheduler's SIGTERM are for the parent, which still wants its last verdicts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _ring)
    # The mask is inherited: a parent thread with signals blocked would disarm the alarm.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.WARNING)


def judge(call: Callable[[], list[Verdict]], items: int, seconds: float) -> list[Verdict]:
    """The verdicts that `call` finds for so many items, or for each of them why there is none."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_S)
        try:
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except SoftDeadline:
        reason, detail = Reason.timeout, f"no verdict within {seconds:g} s"
    except MemoryError:
        reason, detail = Reason.crash, "out of memory (verification.memory_mb)"
    except Exception as error:  # the input is hostile; the run must know and go on
        reason, detail = Reason.crash, f"{type(error).__name__}: {error}"[:300]
    return [Verdict(score=0.0, reason=reason, detail=detail) for _ in range(items)]


def serve(connection: Connection) -> None:
    """Set up, say "ready", then answer items until the parent hangs up."""
    paths, soft_s = pickle.loads(connection.recv_bytes())
    sys.path[:] = paths  # before the verifiers are unpickled: their modules are found as in the parent
    try:
        verifiers = pickle.loads(connection.recv_bytes())
        for verifier in verifiers.values():
            if hasattr(verifier, "warm"):
                verifier.warm()
    except Exception:  # of any kind: it becomes the parent's error message
        connection.send(traceback.format_exc())
        return
    connection.send("ready")
    while True:
        message = connection.recv()
        parts = [pickle.loads(part) for part in message] if isinstance(message, list) else [message]
        verifier, items = verifiers[parts[0][0]], [tuple(item) for _, *item in parts]
        if len(items) > 1:
            call = partial(verifier.verify_batch, items)
        else:
            call = partial(_alone, verifier, items[0])
        started = perf_counter()
        verdicts = judge(call, len(items), soft_s)
        for verdict in verdicts:
            verdict.ms = (perf_counter() - started) * 1000 / len(items)
        connection.send(verdicts)


def _alone(verifier: Any, item: tuple[str, str, dict[str, Any]]) -> list[Verdict]:
    return [verifier.verify(*item)]


def main() -> None:
    descriptor, parent, memory_mb = map(int, sys.argv[1:])
    harden(parent, memory_mb)
    with suppress(EOFError, OSError):  # the parent hung up
        serve(Connection(descriptor))
    os._exit(0)  # nothing to clean up, and a full address space may fail to


if __name__ == "__main__":
    main()
