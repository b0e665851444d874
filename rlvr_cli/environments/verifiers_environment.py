"""Task sets of the package `verifiers`, in both of its forms: their programs ask for the policy's turns, and
their rubrics score.

A worker has one process of the interpreter that has the package, which plays all its episodes; each talks to
the run as any program of `external` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Task
from rlvr_cli.environments.gateway.hosted import Hosted
from rlvr_cli.environments.gateway.program import Address, Ended
from rlvr_cli.environments.gateway.score import Score
from rlvr_cli.gym.task_sets import Player, TaskSet, agent, end, first_answer

INDEX = "index"
"""Column of a row: its number in the task set."""


@dataclass(kw_only=True)
class VerifiersEnvironment(Hosted):
    name: str = "verifiers_environment"
    package: str | None = None
    """The task set: the name of its module, or `owner/name`."""
    python: str | None = None
    """An interpreter that has it, with `verifiers` 0.1.14 or 0.4: venvs/gsm8k/bin/python; null: the run's."""
    args: dict[str, Any] = field(default_factory=dict)
    """For its `load_environment`, or keys of its configuration."""
    split: str = "train"
    """Of its data sets: train or eval; of the later form only train."""
    agent: dict[str, Any] = field(default_factory=agent)
    """Of the later form: its `agent` section. The harness `null` is the package's plain loop of chat and
    tools; it runs as a process of this machine."""
    score: Score = Score.returned
    """returned: the task set's own reward; verifier: verifiers judge the last turn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.package is None:
            raise ValueError("package is not set; name the task set, such as gsm8k")
        self.task_set()
        if self.score not in (Score.returned, Score.verifier):
            raise ValueError(f"score is {self.score.value}; it must be returned or verifier")

    def task_set(self) -> TaskSet:
        """What runs where."""
        return TaskSet(
            package=str(self.package),
            python=self.python,
            args=self.args,
            split=self.split,
            agent=self.agent,
        )

    # In the trainer's process.

    def ready(self) -> None:
        """Load the task set once, in a process of its own."""
        super().ready()
        task_set = self.task_set()
        process = task_set.start()
        first_answer(task_set, process, self.start_s)
        end(process)

    # In a worker.

    def warm(self) -> None:
        self._player = Player(self.task_set(), start_s=self.start_s, cancel_s=self.grace_s)
        self._player.start()
        self.open_gateway()

    def _program(self, task: Task) -> Play:
        index = task.row.get(INDEX)
        if not isinstance(index, int) or not 0 <= index < self._player.tasks:
            raise UserError(
                f"row {task.id} has {INDEX}={index!r}, and {self.package} has tasks 0 to "
                f"{self._player.tasks - 1}: take its problems from verifiers:{self.package}"
            )
        return Play(self._player, index)


class Play:
    """A program that runs in the task set's process."""

    def __init__(self, player: Player, index: int) -> None:
        self._player, self._index = player, index
        self._number: int | None = None

    async def run(self, problem: Mapping[str, Any], address: Address) -> Ended:
        self._number, coming = await self._player.play(self._index, address.base_url, address.model)
        answer = await asyncio.shield(coming)
        return Ended(failure=answer.get("error", ""), value=answer.get("value"))

    async def end(self) -> None:
        if self._number is not None:
            await self._player.cancel(self._number)
