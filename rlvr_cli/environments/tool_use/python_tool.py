"""A Python interpreter as a tool, in a sandbox: variables live as long as the episode, and no longer."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any

from rlvr_cli.environments.tool_use.interpreter import SOURCE
from rlvr_cli.environments.tool_use.results import MARK, Side, cut
from rlvr_cli.environments.tool_use.threads import in_thread
from rlvr_cli.environments.tool_use.tool import NoVerdict, Outcome, Schema
from rlvr_cli.verifiers.sandbox import Isolation, Limits, Program, Sandbox, SandboxError, choose
from rlvr_cli.verifiers.sandbox.received import json_value
from rlvr_cli.verifiers.sandbox.running import parse
from rlvr_cli.verifiers.sandbox.values import encode

START_S = 10.0
"""For an interpreter to be ready."""
STARTERS = 8
"""Boxes that are started at once."""
CALLS = 64
"""Calls of full length that the processor time of an interpreter suffices for."""
DESCRIPTION = (
    "Run Python code. Variables, functions and imports of earlier calls are still there. Returns what the "
    "code prints, the value of its last expression, and an error if there is one. There is no network."
)


@dataclass(kw_only=True)
class PythonTool:
    """Settings of the tool."""

    tool: str = "python"
    """What it is called."""
    timeout_s: float = 10.0
    """Seconds of a call by the clock; then the interpreter is ended, and its variables are lost."""
    memory_mb: int = 512
    """Address space of the interpreter, without numpy's own."""
    numpy: bool = True
    """The numpy that is installed here may be imported."""
    isolation: Isolation = Isolation.auto
    """auto takes bwrap, else userns, else stops; rlimit builds no box and must be named."""

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise ValueError(f"python.timeout_s is {self.timeout_s}; it must be above 0")
        if self.memory_mb < 64:
            raise ValueError(f"python.memory_mb is {self.memory_mb}; Python itself needs 64")

    @property
    def schema(self) -> Schema:
        code = {"type": "string", "description": "The code to run."}
        parameters = {"type": "object", "properties": {"code": code}, "required": ["code"]}
        function = {"name": self.tool, "description": DESCRIPTION, "parameters": parameters}
        return {"type": "function", "function": function}

    def check(self) -> None:
        """UserError where this machine has no such isolation."""
        choose(self.isolation)

    @property
    def limits(self) -> Limits:
        cpu_s = ceil(self.timeout_s) * CALLS
        return Limits(memory_mb=self.memory_mb, numpy=self.numpy, cpu_s=cpu_s)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A program in a box."""

    sandbox: Sandbox
    manager: AbstractContextManager[Program]
    program: Program


class Boxes:
    """The boxes of a worker, each with one program at a time.

    They are started by threads that live as long as the worker: a box ends with the one that started it.
    """

    def __init__(self, settings: PythonTool) -> None:
        self._settings = settings
        self._starters = ThreadPoolExecutor(min(STARTERS, os.cpu_count() or 1), "boxes")
        self._free: list[Sandbox] = []
        self._lock = threading.Lock()
        settings.check()

    def open(self) -> Running:
        """An interpreter in a box that is free, or in a new one."""
        with self._lock:
            sandbox = self._free.pop() if self._free else None
        sandbox = sandbox or Sandbox(self._settings.isolation, self._settings.limits)
        manager = sandbox.open({"mode": "serve", "source": SOURCE})
        program = self._starters.submit(manager.__enter__).result()
        return Running(sandbox=sandbox, manager=manager, program=program)

    def end(self, running: Running) -> None:
        """End the interpreter; its box is free then, or gone where it fails."""
        with suppress(SandboxError):
            running.manager.__exit__(None, None, None)
        with self._lock:
            self._free.append(running.sandbox)

    def stop(self) -> None:
        for sandbox in self._free:
            sandbox.close()
        self._free.clear()
        self._starters.shutdown()


class Interpreter:
    """The interpreter of an episode, begun by its first call. Its calls come one after the other."""

    def __init__(self, settings: PythonTool, boxes: Boxes, most: int, side: Side) -> None:
        self.schema = settings.schema
        self._settings, self._boxes, self._most, self._side = settings, boxes, most, side
        self._open: Running | None = None
        self._asked = 0
        self._lock = threading.Lock()
        self._in_order = asyncio.Lock()

    async def run(self, arguments: dict[str, Any]) -> Outcome:
        async with self._in_order:  # of a turn's calls each finds what those before it have left
            return await in_thread(self.call, arguments["code"])

    def call(self, code: str) -> Outcome:
        """Run a piece of code. NoVerdict where the sandbox itself fails."""
        with self._lock:
            try:
                return self._call(code)
            except SandboxError as error:
                self._end()
                raise NoVerdict(f"python: the sandbox failed: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._end()

    def _call(self, code: str) -> Outcome:
        ended = self._open is not None and not self._alive()
        if self._open is None or ended:
            self._end()
            self._start()
        assert self._open is not None
        note = "(the interpreter had ended; this is a new one, without earlier variables)\n" if ended else ""
        said = self._ask("run", [code, self._most], self._settings.timeout_s)
        if said is None:
            outcome = self._open.program.finish(monotonic())
            self._end()
            why = f"the interpreter ended ({outcome.stopped or outcome.error or f'code {outcome.code}'})"
            if outcome.stopped == "time":
                why = f"TimeoutError: stopped after {self._settings.timeout_s:g} s"
            lost = "the next call begins without the variables of earlier ones"
            return Outcome(text=f"{note}Error: {why}; {lost}", failed=True)
        output, error = said
        room = self._most - len(error) - len(note) - len(MARK) - 1  # the error is never cut away
        shown = cut(output, max(0, room), self._side)
        text = "\n".join(filter(None, (shown.rstrip("\n"), error)))
        return Outcome(text=note + (text or "(no output)"), failed=bool(error))

    def _start(self) -> None:
        self._open = self._boxes.open()
        deadline = monotonic() + START_S
        if self._open.program.receive(deadline) is None or not self._alive():
            raise SandboxError("an interpreter does not start")

    def _alive(self) -> bool:
        return self._ask("alive", [], START_S) is not None

    def _ask(self, function: str, arguments: list[Any], seconds: float) -> list[str] | None:
        """The answer of the driver in the box; None: it has ended, or been ended.

        What comes is whatever the code has made of the driver; answers to other questions are dropped.
        """
        assert self._open is not None
        self._asked += 1
        deadline = monotonic() + seconds
        request = {"do": "call", "of": function, "args": encode([self._asked, *arguments])}
        self._open.program.send(json.dumps(request).encode() + b"\n", deadline)
        while (line := self._open.program.receive(deadline)) is not None:
            with suppress(ValueError, RecursionError):
                said = json_value(parse(line).get("value"))
                if isinstance(said, list) and said[:1] == [self._asked]:
                    return [str(each) for each in (*said[1:], "", "")[:2]]
        return None

    def _end(self) -> None:
        if self._open is not None:
            running, self._open = self._open, None
            self._boxes.end(running)
