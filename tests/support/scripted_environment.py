"""Environments that do what a problem's row says. Their processes load no torch."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from dataclasses import dataclass
from typing import Any

from rlvr_cli.environments.environment import Environment, Step, Task, Turn


@dataclass(kw_only=True)
class Scripted(Environment):
    """The row's `script` has what is done after each turn: arguments of a Step; or `sleep`, `hang` (seconds),
    `raise`, `die`, `return`; `first` is what `reset` says."""

    name: str = "scripted"
    max_turns: int = 100

    def reset(self, task: Task) -> Any:
        self.script = list(task.row.get("script", []))
        return self._do(task.row["first"]) if "first" in task.row else None

    def step(self, turn: Turn) -> Any:
        number = turn.number - 1
        return self._do(self.script[number]) if number < len(self.script) else Step(done=True)

    def _do(self, act: Any) -> Any:
        if not isinstance(act, dict):
            return act
        if "sleep" in act:
            time.sleep(act["sleep"])
        if "hang" in act:  # holds the interpreter's lock, so that nothing else runs
            ctypes.PyDLL(None).sleep(act["hang"])
        if "raise" in act:
            raise RuntimeError(act["raise"])
        if "die" in act:
            os._exit(3)
        return act["return"] if "return" in act else Step(**act.get("step", {"text": "ok"}))


@dataclass(kw_only=True)
class Waiting(Environment):
    """A coroutine that waits, and then says "ok" until `turns` are over."""

    name: str = "waiting"
    wait_s: float = 0.2
    turns: int = 4

    async def step(self, turn: Turn) -> Step:
        await asyncio.sleep(self.wait_s)
        return Step(text="ok", reward=0.25, done=turn.number >= self.turns)


@dataclass(kw_only=True)
class Refusing(Environment):
    name: str = "refusing"

    def warm(self) -> None:
        from rlvr_cli.core.errors import UserError

        raise UserError("there is no corpus at nowhere.jsonl")
