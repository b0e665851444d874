"""Classes written for TRL's `environment_factory`: `reset(**row)`, methods as tools, `get_reward`.

Calls of a turn run one after the other on the episode's own object. As in TRL, what a method raises is told
to the policy, a turn without a call is the last, and the calls of turn `max_turns` are not run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment, Message, Step, Task, Turn
from rlvr_cli.environments.factories import check_factory, load_factory
from rlvr_cli.environments.tool_calls import Call, Grammar, Syntax, parse, syntax_of
from rlvr_cli.environments.tool_use.answers import Answers
from rlvr_cli.environments.tool_use.look import Looked, look
from rlvr_cli.environments.tool_use.results import Side
from rlvr_cli.environments.tool_use.tool import Outcome, name_of, parameters_of
from rlvr_cli.environments.trl_classes import Held, Pool, schemas_of, takes, text_of_parts


@dataclass(kw_only=True)
class TrlEnvironment(Environment):
    name: str = "trl_environment"
    factory: str | None = None
    """The class: `file.py:Name` (beside the recipe, or in the working directory) or `package.module:Name`."""
    syntax: Syntax = Syntax.auto
    """How calls are written; auto: as the model's chat template prints them."""
    repair: bool = False
    """Read calls with trailing commas, code fences or arguments in quotation marks as they were meant."""
    thinking: bool = False
    """The prompt has opened a thought: a turn without `</think>` calls nothing."""
    max_calls_per_turn: int = 8
    """Calls of a turn that are run; more are answered with an error."""
    call_s: float = 30.0
    """Seconds of a call; a late one is answered with an error."""
    max_result_chars: int = 4096
    """Longer results are cut."""
    side: Side = Side.middle
    """Which part of a long result is kept."""
    code_lists: ClassVar[tuple[str, ...]] = ("factory",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factory is None:
            raise ValueError("factory is not set; name the class: file.py:Name or package.module:Name")
        check_factory(self.factory)
        if self.syntax is Syntax.tags:
            raise ValueError("syntax: tags is of the environment tools; take the syntax of a chat template")
        for key in ("max_calls_per_turn", "max_result_chars"):
            if (value := getattr(self, key)) < 1:
                raise ValueError(f"{key} is {value}; it must be at least 1")
        if not 0 < self.call_s < self.step_s:
            raise ValueError(f"call_s is {self.call_s}; it must be above 0 and below step_s ({self.step_s})")
        self.looked: Looked | None = None

    # In the trainer's process.

    def choose_syntax(self, template: str | None) -> None:
        """Have what the policy's chat template prints; UserError where that is nothing known."""
        if self.syntax is Syntax.auto:
            if (found := syntax_of(template)) is None:
                raise UserError(
                    "syntax: auto: the model's chat template prints no tool calls in a syntax that is known "
                    "here; set one"
                )
            self.syntax = found

    def ready(self) -> None:
        """Load the class in a process of its own, and see what it has for tools."""
        self.looked = self.looked or look(self, self.start_s)

    def schemas(self) -> list[dict[str, Any]]:
        self.ready()
        assert self.looked is not None
        return list(self.looked.schemas)

    def own_schemas(self) -> list[dict[str, Any]]:
        """Tools of the class; asked in a process that may import it."""
        return schemas_of(load_factory(str(self.factory)))

    # In a worker.

    def warm(self) -> None:
        if self.syntax is Syntax.auto:
            raise UserError("syntax: auto: no chat template has been looked at; set syntax")
        made = load_factory(str(self.factory))
        self._schemas, self._pool = schemas_of(made), Pool(made)
        self._grammar = Grammar(
            syntax=self.syntax,
            parameters={name_of(each): parameters_of(each) for each in self._schemas},
            repair=self.repair,
            thinking=self.thinking,
        )

    async def reset(self, task: Task) -> list[Message] | None:
        """What its `reset` returns goes behind the last message of the prompt, with nothing between."""
        self._held: Held = await self._pool.take()
        self._answers = Answers(
            tools=self._held.tools(self._schemas, self.call_s),
            most_calls=self.max_calls_per_turn,
            most_chars=self.max_result_chars,
            side=self.side,
        )
        row = task.row | {"prompt": task.prompt, "answer": task.answer}
        reset = self._held.thing.reset
        said = await self._held.ask(reset, **takes(reset, row))
        if said is None:
            return None
        *before, last = task.prompt
        return [*before, last | {"content": f"{last['content']}{text_of_parts(said)}"}]

    async def step(self, turn: Turn) -> Step:
        calls = parse(turn.text, self._grammar).calls
        most = 0 if turn.number >= self.max_turns else len(calls)
        started = perf_counter()
        outcomes = [await self._answers.to(number, call) for number, call in enumerate(calls[:most])]
        seconds = perf_counter() - started
        step = Step(done=turn.last or not outcomes)
        step.measures = self._answers.measures(calls[:most], outcomes, seconds)
        self._say(step, turn, calls[:most], outcomes)
        if step.done:
            step.reward = await self._reward()
        return step

    def _say(self, step: Step, turn: Turn, calls: list[Call], outcomes: list[Outcome]) -> None:
        ids = [call.id or f"c{turn.number % 10_000:04}n{n % 1000:03}" for n, call in enumerate(calls)]
        for call, id_, outcome in zip(calls, ids, outcomes, strict=True):
            name = call.name or "invalid"
            step.messages.append({"role": "tool", "name": name, "tool_call_id": id_, "content": outcome.text})
            function = {"name": name, "arguments": call.arguments}
            step.calls.append({"id": id_, "type": "function", "function": function})
        if self.syntax is Syntax.llama3_json:  # whose template prints one call of a turn, and no more
            del step.calls[1:]

    async def _reward(self) -> float | None:
        """None where the class has no `get_reward`: a verifier judges the last turn."""
        if (asked := getattr(self._held.thing, "get_reward", None)) is None:
            return None
        reward = float(await self._held.ask(asked))
        if not math.isfinite(reward):
            raise ValueError(f"get_reward returned {reward}")
        return reward

    async def close(self) -> None:
        if (held := vars(self).pop("_held", None)) is not None:
            self._pool.give_back(held)
