"""OpenEnv environments behind their WebSocket, of which each episode has one; their package is not needed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment, Message, Step, Task, Turn
from rlvr_cli.environments.openenv_session import OfAction, Session, schema_of_actions
from rlvr_cli.environments.text_actions import action_of, opening, seed_of, text_of, unreadable
from rlvr_cli.verifiers.extract import Extraction, Rejected

FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
NOTHING = {"finished": 0.0, "without_an_action": 0.0, "errors": 0.0}
"""What is counted."""


@dataclass(kw_only=True)
class Openenv(Environment):
    name: str = "openenv"
    url: str | None = None
    """Of the server: http://host:port."""
    columns: list[str] = field(default_factory=list)
    """Columns of a row that `reset` is given, besides `seed`, which all episodes of a problem share."""
    options: dict[str, Any] = field(default_factory=dict)
    """What else it is given, the same for all."""
    extraction: Extraction | None = None
    """Where a turn has its action; null: all of it behind the thought."""
    thinking: bool = False
    """The prompt has opened a thought: a turn without `</think>` has no action."""
    connect_s: float = 10.0
    """Seconds for a connection."""
    message_s: float = 60.0
    """Seconds for the answer to a message."""
    wait_s: float = 600.0
    """Seconds to wait for a session where the server has no more of them (CAPACITY_REACHED)."""
    step_s: float = 700.0
    """Seconds a call of the environment may take: longer than the three before together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.url is None or not re.match(r"https?://[^/]", self.url):
            raise ValueError(f"url is {self.url}; it must be that of a server, such as http://127.0.0.1:8000")
        for key in ("connect_s", "message_s", "wait_s"):
            if (value := getattr(self, key)) <= 0:
                raise ValueError(f"{key} is {value}; it must be above 0")
        if (spent := self.connect_s + self.message_s + self.wait_s) >= self.step_s:
            raise ValueError(
                f"step_s is {self.step_s:g}; it must be above connect_s + message_s + wait_s ({spent:g})"
            )
        if taken := {"seed", "episode_id"} & {*self.columns, *self.options}:
            raise ValueError(f"'{min(taken)}' is given to reset already; leave it out of columns and options")

    def ready(self) -> None:
        if find_spec("aiohttp") is None:
            raise UserError(
                "environment openenv needs aiohttp, which comes with the engine (rlvr[cpu], [gpu])"
            )

    def warm(self) -> None:
        self._actions: OfAction | None = schema_of_actions(str(self.url), self.connect_s)

    async def reset(self, task: Task) -> list[Message]:
        missing = [column for column in self.columns if column not in task.row]
        if missing:
            raise UserError(f"openenv: columns: row {task.id} has no '{missing[0]}'")
        given = {column: task.row[column] for column in self.columns}
        self._session = Session(str(self.url), self.connect_s, self.message_s)
        found = await self._session.begin(self.options | given | {"seed": seed_of(task)}, self.wait_s)
        return opening(task, text_of(found.observation))

    async def step(self, turn: Turn) -> Step:
        try:
            action = self._action(action_of(turn.text, self.extraction, self.thinking))
        except Rejected as rejected:
            return self._told(unreadable(rejected), turn, "without_an_action")
        except ValueError as error:
            return self._told(f"Error: {error}", turn, "without_an_action")
        found = await self._session.step(action)
        if found.error:
            return self._told(f"Error: {found.error}", turn, "errors")
        return Step(
            messages=[{"role": "user", "content": text_of(found.observation)}],
            done=found.done or turn.last,
            reward=found.reward,
            measures=NOTHING | {"finished": float(found.done)},
        )

    async def close(self) -> None:
        if (session := vars(self).pop("_session", None)) is not None:
            await session.end()

    def _told(self, text: str, turn: Turn, count: str) -> Step:
        messages = [{"role": "user", "content": text}]
        return Step(messages=messages, done=turn.last, measures=NOTHING | {count: 1.0})

    def _action(self, text: str) -> dict[str, Any]:
        """JSON, also in a fence; or the text itself where an action has one required field."""
        fenced = FENCED.findall(text)
        try:
            found = json.loads(fenced[-1] if fenced else text)
        except (ValueError, RecursionError):
            found = None
        only = None if self._actions is None else self._actions.only
        if isinstance(found, dict) and (only is None or only in found):
            return found
        if self._actions is None or only is None:
            raise ValueError("an action is a JSON object")
        return {only: self._actions.value(text)}
