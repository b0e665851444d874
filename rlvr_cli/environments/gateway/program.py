"""Running an episode's program: a command in a process group of its own, or a Python function in a thread."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rlvr_cli.environments.tool_use.threads import in_thread

PROBLEM = "problem.json"
TERM_S = 1.0
"""Between a request to end and the end."""
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded before any fork


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the program finds the policy."""

    base_url: str
    api_key: str
    model: str


@dataclass(slots=True, kw_only=True)
class Ended:
    """How a program has ended."""

    failure: str = ""
    """What went wrong, in a line; "" where nothing did."""
    value: Any = None
    """What a function has returned."""


class Program(Protocol):
    """One run of it."""

    async def run(self, problem: Mapping[str, Any], address: Address) -> Ended:
        """Until its end."""

    async def end(self) -> None:
        """It has ended, or does so now; nothing of it stays behind."""


class Command:
    """In a temporary folder, which has the problem as a file; it is on its standard input as well."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.folder = Path(tempfile.mkdtemp(prefix="rlvr-episode-"))
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, problem: Mapping[str, Any], address: Address) -> Ended:
        (self.folder / PROBLEM).write_text(json.dumps(problem, default=str))
        variables = {
            "OPENAI_BASE_URL": address.base_url,
            "OPENAI_API_KEY": address.api_key,
            "OPENAI_MODEL": address.model,
        }
        words = [sys.executable if self._words[0] == "python" else self._words[0], *self._words[1:]]
        with (self.folder / PROBLEM).open("rb") as stdin:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=stdin,
                    cwd=self.folder,
                    env={**os.environ, **variables},
                    start_new_session=True,
                    preexec_fn=_as_a_program,
                )
            except OSError as error:
                return Ended(failure=f"{words[0]} does not start: {error.strerror}")
        code = await self._process.wait()
        self._signal(signal.SIGKILL)  # what it has left running
        return Ended(failure=_failure(code))

    async def end(self) -> None:
        if (process := self._process) is not None and process.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), TERM_S)
        self._signal(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._process is not None:
                os.killpg(self._process.pid, number)


def _as_a_program() -> None:
    """In the new process: it ends with the worker, and hears the signals that the worker does not."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _failure(code: int) -> str:
    if code == 0:
        return ""
    if code > 0:
        return f"the program ended with exit code {code}"
    return f"the program was killed by {signal.Signals(-code).name}"


class Function:
    """A coroutine function has an event loop of its own, so that what waits in it holds up nobody else."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, problem: Mapping[str, Any], address: Address) -> Ended:
        given = (dict(problem), address.base_url, address.api_key, address.model)
        call = self._in_loop if inspect.iscoroutinefunction(self._function) else self._function
        try:
            return Ended(value=await in_thread(call, *given))
        except Exception as error:  # of any kind: the user's own code
            traceback.print_exception(error)
            return Ended(failure=f"{type(error).__name__}: {error}".rstrip(": "))

    def _in_loop(self, *given: Any) -> Any:
        async def run() -> Any:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            return await self._function(*given)

        return asyncio.run(run())

    async def end(self) -> None:
        """A coroutine is cancelled; a thread cannot be, and its next request is its last."""
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
