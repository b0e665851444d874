"""Programs in boxes: boxes are started when needed, kept, and given one program at a time.

A `Sandbox` belongs to the thread that first runs a program in it: the kernel ends a box with the
thread that started it.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

from rlvr_cli.verifiers.sandbox.box_process import Box
from rlvr_cli.verifiers.sandbox.limits import Isolation, Limits
from rlvr_cli.verifiers.sandbox.received import json_value
from rlvr_cli.verifiers.sandbox.running import Outcome, Program, parse
from rlvr_cli.verifiers.sandbox.tiers import choose
from rlvr_cli.verifiers.sandbox.values import encode


class Sandbox:
    """Runs programs one after the other; boxes are started when needed and kept."""

    def __init__(self, isolation: Isolation = Isolation.auto, limits: Limits | None = None) -> None:
        self.tier, self.limits = choose(isolation), limits or Limits()
        self._free: list[Box] = []
        self._pid = os.getpid()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for box in self._free:
            box.stop()
        self._free.clear()

    def prepare(self, boxes: int) -> None:
        """Start so many, if they are not there, before a program's time is counted."""
        with ExitStack() as stack:
            for _ in range(boxes):
                stack.enter_context(self._box())

    @contextmanager
    def _box(self) -> Iterator[Box]:
        """A box that is free, or a new one; kept afterwards, unless what was done with it failed."""
        if self._pid != os.getpid():  # a fork: the boxes are the parent's
            self._free, self._pid = [], os.getpid()
        box = self._free.pop() if self._free else Box(self.tier, self.limits)
        if box.process.poll() is not None:  # somebody has ended it while it was idle
            box.stop()
            box = Box(self.tier, self.limits)
        try:
            yield box
        except BaseException:
            box.stop()
            raise
        self._free.append(box)

    @contextmanager
    def open(self, job: dict[str, Any], stdin: bytes = b"") -> Iterator[Program]:
        """A program that runs until the block is left. `job`: see program.py. SandboxError: no verdict."""
        with self._box() as box:
            program = Program(box, job, stdin)
            try:
                yield program
            except BaseException:
                program._running = False  # its box is ended below, and not to be spoken to
                raise
            finally:
                program.close()

    def script(self, source: str, stdin: bytes, seconds: float) -> Outcome:
        """Run `source` as a main program."""
        deadline = monotonic() + seconds
        with self.open({"mode": "script", "source": source}, stdin) as program:
            return program.finish(deadline)

    def call(self, source: str, name: str, arguments: list[Any], seconds: float) -> Any:
        """The encoded value of one function call (received.py reads it). ValueError: none came, and why."""
        deadline = monotonic() + seconds
        request = {"do": "call", "of": name, "args": encode(arguments)}
        with self.open({"mode": "serve", "source": source}) as program:
            loaded = program.receive(deadline)
            if loaded is not None and "raised" not in parse(loaded):
                program.send(json.dumps(request).encode() + b"\n", deadline)
                loaded = program.receive(deadline)
            if loaded is None:
                outcome = program.finish(deadline)
                raise ValueError(outcome.stopped or outcome.error or f"it ended with code {outcome.code}")
        answer = parse(loaded)
        if "value" in answer:
            return answer["value"]
        raised = answer.get("raised")
        raise ValueError(": ".join(map(str, raised))[:300] if isinstance(raised, list) else "no answer")


KEPT = 4
"""Sandboxes of a thread, each with a box or two; the one not used for longest goes first."""
_mine = threading.local()


def shared(isolation: Isolation, limits: Limits) -> Sandbox:
    """The calling thread's sandbox of this kind, kept for its next call; do not close it.

    UserError where the tier does not work.
    """
    known: OrderedDict[Any, Sandbox] = vars(_mine).setdefault("sandboxes", OrderedDict())
    key = (isolation, limits)
    if key not in known:
        known[key] = Sandbox(isolation, limits)
    known.move_to_end(key)
    if len(known) > KEPT:
        known.popitem(last=False)[1].close()
    return known[key]


def run_python(source: str, payload: Any, *, seconds: float = 5.0, limits: Limits | None = None) -> Any:
    """The JSON value that `main(payload)` of `source` returns, run in the strongest tier there is.

    `payload` and the result are JSON values; a tuple comes back as a list. UserError: this machine has
    no isolation. ValueError: the program failed, was too slow, or returned something else.
    SandboxError: the sandbox itself failed, which says nothing about the program. The box is kept
    for the calling thread's next call.
    """
    said = shared(Isolation.auto, limits or Limits()).call(source, "main", [payload], seconds)
    try:
        return json_value(said)
    except RecursionError as error:
        raise ValueError(f"the value is no JSON: {error}") from None
