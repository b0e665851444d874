"""The child side of pool.py: `python -m rlvr_cli.verifiers.worker <descriptor> <parent pid> <memory>`.

A plain new process, so that nothing of the parent (torch, CUDA, its __main__, its threads) is in it.
Its memory is limited, it ends with its parent, and two clocks end a verdict that takes too long.

What a response has caused is `refused` and scores 0: a verdict that computes for too long or needs too much
memory, an error that comes again and not with another response. Only what it cannot have caused leaves it
without a verdict (`timeout`, `crash`), or a policy would learn to write what is left out.
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
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.answer import MEMORY, Answer, Unreachable
from rlvr_cli.verifiers.deadline import TooLate, TooMuch, listen, within

PR_SET_PDEATHSIG = 1
Item = tuple[str | list[str], str, dict[str, Any]]
"""(response, or all to a problem that one call judges; answer; extra)"""


def harden(parent: int, memory_mb: int) -> None:
    """Bind this process to its parent's life, to a memory limit and to the parent's will alone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    # Ctrl-C and a scheduler's SIGTERM are for the parent, which still wants its last verdicts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    listen()
    # The mask is inherited: a parent thread with signals blocked would disarm the alarm.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.WARNING)


class Worker:
    """Judges items within `seconds` of computing each, or of a verifier that `waits`, by the clock."""

    def __init__(self, verifiers: dict[str, Any], seconds: float, clock_s: float) -> None:
        self._verifiers, self._seconds, self._clock_s = verifiers, seconds, clock_s
        self._served = 0

    def answer(self, name: str, items: list[Item]) -> Answer:
        """The verdicts of items for one verifier, or for each of them why there is none."""
        verifier, started = self._verifiers[name], perf_counter()
        found = self._judge(verifier, items)
        self._served += len(items)
        for verdict in found.verdicts:
            verdict.ms = (perf_counter() - started) * 1000 / len(found.verdicts)
        return found

    def _judge(self, verifier: Any, items: list[Item]) -> Answer:
        waits = getattr(verifier, "waits", False)
        try:
            found = self._verdicts(verifier, items, waits)
            lost = not getattr(verifier, "survives", False) and any(verdict.missing for verdict in found)
            return Answer(verdicts=found, spent=lost)
        except TooMuch:
            reason, detail = Reason.refused, f"took more than {self._seconds:g} s"
        except TooLate:
            reason, detail = Reason.timeout, f"no verdict within {self._clock_s:g} s"
        except Unreachable as error:
            return Answer(unreachable=str(error)[:300])
        except MemoryError:
            if self._served and not waits:
                return Answer(spent=True)
            reason = Reason.crash if waits else Reason.refused
            detail = MEMORY
        except Exception as error:  # the input is hostile; the run must know and go on
            reason, detail = Reason.crash, f"{type(error).__name__}: {error}"[:300]
            # An OSError or a missing module is the machine's, whatever was being read.
            if not waits and len(items) == 1 and not isinstance(error, OSError | ImportError):
                if (chance := self._again(verifier, items[0])) is not None:
                    return Answer(verdicts=[chance], spent=True)
                reason = Reason.refused if self._judges_another(verifier, items[0]) else Reason.crash
        count = sum(1 if isinstance(response, str) else len(response) for response, *_ in items)
        silent = [Verdict(score=0.0, reason=reason, detail=detail) for _ in range(count)]
        return Answer(verdicts=silent, spent=True)

    def _verdicts(self, verifier: Any, items: list[Item], waits: bool) -> list[Verdict]:
        call = (
            partial(verifier.verify_batch, items) if len(items) > 1 else partial(_alone, verifier, items[0])
        )
        if getattr(verifier, "own_alarms", False):  # what it calls may set the same timer; the pool kills
            return call()
        return within(call, None if waits else self._seconds, self._clock_s)

    def _judges_another(self, verifier: Any, item: Item) -> bool:
        """Whether another response in its place is compared with the gold answer: then this one has caused
        the error. The gold answer's own, where there is one; else an empty one."""
        _, answer, extra = item
        try:
            known = verifier.gold_responses(answer, extra) if hasattr(verifier, "gold_responses") else []
            found = self._again(verifier, ((known or [""])[0], answer, extra))
        except Exception:  # of the gold answer
            return False
        return found is not None and found.reason in (Reason.correct, Reason.wrong)

    def _again(self, verifier: Any, item: Item) -> Verdict | None:
        try:
            return self._verdicts(verifier, [item], False)[0]
        except (Exception, TooLate):
            return None


def _alone(verifier: Any, item: Item) -> list[Verdict]:
    if isinstance(item[0], list):
        found: list[Verdict] = verifier.verify_together(*item)
        return found
    return [verifier.verify(*item)]


def serve(connection: Connection) -> None:
    """Set up, say "ready", then answer items until the parent hangs up."""
    paths, places, seconds, clock_s = pickle.loads(connection.recv_bytes())
    sys.path[:] = paths  # before the verifiers are unpickled: their modules are found as in the parent
    plugins.announce(places)  # those of a plugin, and no others, are imported then
    try:
        verifiers = pickle.loads(connection.recv_bytes())
        for verifier in verifiers.values():
            if hasattr(verifier, "warm"):
                verifier.warm()
    except Exception:  # of any kind: it becomes the parent's error message
        connection.send(traceback.format_exc())
        return
    connection.send("ready")
    worker = Worker(verifiers, seconds, clock_s)
    while True:
        message = connection.recv()
        parts = [pickle.loads(part) for part in message] if isinstance(message, list) else [message]
        connection.send(worker.answer(parts[0][0], [tuple(item) for _, *item in parts]))


def main() -> None:
    descriptor, parent, memory_mb = map(int, sys.argv[1:])
    harden(parent, memory_mb)
    with suppress(EOFError, OSError):  # the parent hung up
        serve(Connection(descriptor))
    os._exit(0)  # nothing to clean up, and a full address space may fail to


if __name__ == "__main__":
    main()
