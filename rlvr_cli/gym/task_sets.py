"""Task sets of the package `verifiers`, in a process of an interpreter of their own (task_set_child.py)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from rlvr_cli.core.errors import UserError

CHILD = Path(__file__).with_name("task_set_child.py")
Answer = dict[str, Any]


def agent() -> dict[str, Any]:
    """The package's plain loop of chat and tools, as a process of this machine; its own defaults are a shell
    for the policy, and a machine of Prime's."""
    return {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}


@dataclass(frozen=True, kw_only=True)
class TaskSet:
    """Which one, and where it runs."""

    package: str
    """As its environment hub or module calls it: `owner/some-set`, `some_set`."""
    python: str | None = None
    """An interpreter that has it; None: the one that runs here."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """For `load_environment`, or the keys of the task set's configuration."""
    split: str = "train"
    agent: Mapping[str, Any] = field(default_factory=agent)
    """Who plays tasks of the later form, as its configuration has it."""

    def __post_init__(self) -> None:
        if not self.package or not self.package.replace("/", "_").replace("-", "_").isidentifier():
            raise ValueError(f"package is '{self.package}'; it must be a task set's name, such as gsm8k")
        if self.split not in ("train", "eval"):
            raise ValueError(f"split is '{self.split}'; it must be train or eval")

    def start(self, *, rows: bool = False) -> subprocess.Popen[str]:
        """Its process; UserError where there is no such interpreter."""
        python = sys.executable if self.python is None else shutil.which(Path(self.python).expanduser())
        if python is None:
            raise UserError(f"python: there is no interpreter {self.python}")
        asked = {"package": self.package, "args": dict(self.args), "split": self.split}
        words = [python, "-P", str(CHILD), json.dumps(asked | {"agent": dict(self.agent), "rows": rows})]
        pipe, variables = subprocess.PIPE, os.environ | {"RLVR_SESSION": "in-the-address"}
        # A session of its own: its end takes along what it has started. That of our standard input ends it.
        return subprocess.Popen(
            words, stdin=pipe, stdout=pipe, text=True, start_new_session=True, env=variables
        )


def first_answer(task_set: TaskSet, process: subprocess.Popen[str], seconds: float) -> Answer:
    """What it says once it has loaded; UserError, in a line, where it cannot, or is late."""
    came: SimpleQueue[str] = SimpleQueue()
    assert process.stdout is not None
    threading.Thread(target=lambda: came.put(process.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]
    try:
        line = came.get(timeout=seconds)
    except Empty:
        end(process)
        raise UserError(f"{task_set.package} has not loaded within {seconds:g} s; raise start_s") from None
    if not line:
        end(process)
        raise UserError(f"{task_set.package} ended the process that loaded it ({process.wait()})")
    answer: Answer = json.loads(line)
    if "refused" in answer:
        end(process)
        raise UserError(f"{task_set.package}: {answer['refused']}")
    return answer


def rows_of(task_set: TaskSet, seconds: float) -> list[Answer]:
    """Its tasks as {prompt, answer, info}, in its own order."""
    process = task_set.start(rows=True)
    try:
        found: list[Answer] = first_answer(task_set, process, seconds)["rows"]
    finally:
        end(process)
    return found


def end(process: subprocess.Popen[str]) -> None:
    """It, and what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


class Player:
    """One process that plays any number of tasks at once. Where it ends its plays have failed, and the next
    one starts another.

    `start_s`: for its start; `cancel_s`: for a play to end once it is cancelled: a process that takes longer
    is ended with all its plays.
    """

    def __init__(self, task_set: TaskSet, *, start_s: float, cancel_s: float) -> None:
        self._task_set, self._start_s, self._cancel_s = task_set, start_s, cancel_s
        self._process: subprocess.Popen[str] | None = None
        self._open: dict[int, Future[Answer]] = {}
        self._numbers = count()
        self._starting = threading.Lock()
        self.tasks = 0

    def start(self) -> None:
        """Load the task set; UserError where that fails."""
        with self._starting:
            if self._process is not None:
                return
            process = self._task_set.start()
            self.tasks = int(first_answer(self._task_set, process, self._start_s)["tasks"])
            self._process, self._open = process, {}
            threading.Thread(target=self._listen, args=(process, self._open), daemon=True).start()

    async def play(self, index: int, base_url: str, model: str) -> tuple[int, asyncio.Future[Answer]]:
        """Begin a play: its number, and its answer, {value} or {error}."""
        await asyncio.to_thread(self.start)
        number = next(self._numbers)
        answer: Future[Answer] = Future()
        self._open[number] = answer
        self._say({"number": number, "index": index, "base_url": base_url, "model": model})
        return number, asyncio.wrap_future(answer)

    async def cancel(self, number: int) -> None:
        """End a play that has not ended; its process with it, where it does not do so in time."""
        if (answer := self._open.get(number)) is None or self._process is None:
            return
        self._say({"number": number, "cancel": True})
        process = self._process
        with suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answer)), self._cancel_s)
        if not answer.done():
            await asyncio.to_thread(end, process)

    def _say(self, message: Answer) -> None:
        process, plays = self._process, self._open
        try:
            if process is None or process.stdin is None:
                raise BrokenPipeError
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except (OSError, ValueError):  # it has ended; whoever listens settles what is open
            _settle(plays, message["number"], {"error": self._gone()})

    def _listen(self, process: subprocess.Popen[str], plays: dict[int, Future[Answer]]) -> None:
        assert process.stdout is not None
        with suppress(ValueError, OSError):  # closed
            for line in process.stdout:
                answer = json.loads(line)
                _settle(plays, answer.pop("number"), answer)
        end(process)
        with self._starting:
            if self._process is process:
                self._process = None
        for number in list(plays):
            _settle(plays, number, {"error": self._gone()})

    def _gone(self) -> str:
        return f"the process of {self._task_set.package} has ended"


def _settle(plays: dict[int, Future[Answer]], number: int, answer: Answer) -> None:
    if (waiting := plays.pop(number, None)) is not None:
        with suppress(InvalidStateError):
            waiting.set_result(answer)
