"""Tools: the policy calls functions, a Python interpreter or MCP servers, and reads what they return.

A turn without a call ends the episode. What the policy does wrong (a call that cannot be read, a tool that is
not there, arguments that do not fit, an exception) is told to it in a line and counted; it costs no verdict.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment, Step, Task, Turn
from rlvr_cli.environments.tool_calls import Call, Grammar, Status, Syntax, parse, syntax_of
from rlvr_cli.environments.tool_calls.tag_calls import argument_of
from rlvr_cli.environments.tool_use import mcp_client
from rlvr_cli.environments.tool_use.answers import Answers
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.environments.tool_use.kit import Episode, Kit
from rlvr_cli.environments.tool_use.look import Looked, look
from rlvr_cli.environments.tool_use.mcp_server import McpServer
from rlvr_cli.environments.tool_use.python_tool import PythonTool
from rlvr_cli.environments.tool_use.results import Side
from rlvr_cli.environments.tool_use.tool import Outcome, name_of, parameters_of

TAG = re.compile(r"[^<>/\s]{1,40}")


@dataclass(kw_only=True)
class Tools(Environment):
    name: str = "tools"
    functions: list[str] = field(default_factory=list)
    """Typed Python functions with docstrings: `file.py:function`, `file.py` for all public ones of a file
    (beside the recipe, or in the working directory), or `package.module:function`."""
    python: PythonTool | None = None
    """A Python interpreter in a sandbox; `{}` for one as it comes, null: none."""
    mcp: dict[str, McpServer] = field(default_factory=dict)
    """MCP servers by name; their tools are called `<name>__<tool>`."""
    syntax: Syntax = Syntax.auto
    """How calls are written; auto: as the model's chat template prints them."""
    repair: bool = False
    """Read calls with trailing commas, code fences or arguments in quotation marks as they were meant."""
    thinking: bool = False
    """The prompt has opened a thought: a turn without `</think>` calls nothing."""
    max_calls_per_turn: int = 8
    """Calls of a turn that are run, at once; more are answered with an error."""
    call_s: float = 30.0
    """Seconds of a call of a function or server; a late one is answered with an error."""
    max_result_chars: int = 4096
    """Longer results are cut."""
    side: Side = Side.middle
    """Which part of a long result is kept."""
    tags: dict[str, str] = field(default_factory=dict)
    """Of syntax tags: what a tool's tag is called; else it is the tool's name."""
    result_tag: str = "result"
    """Of syntax tags: the tag around what a tool returns."""
    code_lists: ClassVar[tuple[str, ...]] = ("functions",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.functions:
            try:
                Entry.parse(text)
            except ValueError as error:
                raise ValueError(f"functions: {error}") from None
        if not (self.functions or self.python is not None or self.mcp):
            raise ValueError("there is no tool: set functions, python or mcp")
        for key in ("max_calls_per_turn", "max_result_chars"):
            if (value := getattr(self, key)) < 1:
                raise ValueError(f"{key} is {value}; it must be at least 1")
        if not 0 < self.call_s < self.step_s:
            raise ValueError(f"call_s is {self.call_s}; it must be above 0 and below step_s ({self.step_s})")
        if self.python is not None and self.python.timeout_s >= self.step_s:
            raise ValueError(
                f"python.timeout_s is {self.python.timeout_s}; it must be below step_s ({self.step_s})"
            )
        if self.tags and self.syntax is not Syntax.tags:
            raise ValueError("tags belongs to syntax: tags")
        used = [*self.tags.values(), self.result_tag]
        if odd := [tag for tag in used if not TAG.fullmatch(tag)]:
            raise ValueError(f"'{odd[0]}' is no name of a tag: letters without <, > and /")
        if len(set(used)) < len(used):
            raise ValueError(f"two tags have one name: {', '.join(used)}")
        self.spoken = self.syntax
        """The syntax of the policy, once its chat template has been looked at."""
        self.looked: Looked | None = None

    # In the trainer's process.

    def choose_syntax(self, chat_template: str | None) -> None:
        """Have what the policy's chat template prints; UserError where that is nothing known."""
        if self.syntax is not Syntax.auto:
            return
        if (found := syntax_of(chat_template)) is None:
            known = ", ".join(each.value for each in Syntax if each is not Syntax.auto)
            raise UserError(
                "syntax: auto: the model's chat template prints no tool calls in a syntax that is known "
                f"here; set one of {known}; tags is for models without any"
            )
        self.spoken = found

    def ready(self) -> None:
        """Load the tools in a process of its own, and see whether the rest of the recipe fits them."""
        if self.mcp:
            mcp_client.check()
        if self.python is not None:
            self.python.check()
        self.looked = self.looked or look(self, self.start_s)
        names = [name_of(each) for each in self.looked.schemas]
        if unknown := [tool for tool in self.tags if tool not in names]:
            raise UserError(f"tags: there is no tool '{unknown[0]}'; there are: {', '.join(names)}")
        for each in self.looked.schemas if self.spoken is Syntax.tags else []:
            if argument_of(parameters_of(each)) is None:
                raise UserError(f"syntax: tags: {name_of(each)} must take one argument: what its tag holds")
        if self.spoken is Syntax.tags and self.result_tag in self._tag_of(names).values():
            raise UserError(f"result_tag: '{self.result_tag}' is the tag of a tool already")

    def schemas(self) -> list[dict[str, Any]]:
        """None with tags, which no template announces: the prompt says what they do."""
        return [] if self.spoken is Syntax.tags else list(self._looked().schemas)

    @property
    def stop(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of tags their ends: what a tool returns stands right behind its call."""
        if self.spoken is not Syntax.tags:
            return ()
        tags = self._tag_of([name_of(each) for each in self._looked().schemas])
        return tuple(f"</{tag}>" for tag in tags.values())

    def _looked(self) -> Looked:
        if self.looked is None:
            self.ready()
        assert self.looked is not None
        return self.looked

    def _tag_of(self, names: list[str]) -> dict[str, str]:
        return {name: self.tags.get(name, name) for name in names}

    # In a worker.

    def warm(self) -> None:
        if self.spoken is Syntax.auto:
            raise UserError("syntax: auto: no chat template has been looked at; set syntax")
        self._kit = Kit(self)
        if self.looked is None:
            self.looked = Looked(schemas=self._kit.all_schemas())

    async def reset(self, task: Task) -> None:
        self._episode: Episode = await self._kit.episode()
        schemas = [each.schema for each in self._episode.tools.values()]
        if self.looked is not None and Looked(schemas=schemas).sha256 != self.looked.sha256:
            await self._episode.close()
            raise RuntimeError("the tools are other ones than when the run began: a server has changed them")
        tags = self._tag_of(list(self._episode.tools)) if self.spoken is Syntax.tags else {}
        self._grammar = Grammar(
            syntax=self.spoken,
            parameters={name: parameters_of(each.schema) for name, each in self._episode.tools.items()},
            repair=self.repair,
            thinking=self.thinking,
            tags={tag: name for name, tag in tags.items()},
        )
        self._answers = Answers(
            tools=self._episode.tools,
            most_calls=self.max_calls_per_turn,
            most_chars=self.max_result_chars,
            side=self.side,
            tags=(*tags.values(), self.result_tag) if tags else (),
        )

    async def step(self, turn: Turn) -> Step:
        said = parse(turn.text, self._grammar)
        started = perf_counter()
        outcomes = await asyncio.gather(*map(self._answers.to, range(len(said.calls)), said.calls))
        rewards = [each.reward for each in outcomes if each.reward is not None]
        step = Step(
            done=turn.last or not said.calls,
            reward=sum(rewards) if rewards else None,
            measures=self._answers.measures(said.calls, outcomes, perf_counter() - started),
            notes={"calls": _notes(said.calls, outcomes)} if said.calls else {},
        )
        if self.spoken is Syntax.tags:
            step.text = "".join(f"<{self.result_tag}>{each.text}</{self.result_tag}>" for each in outcomes)
            return step
        ids = [call.id or f"c{turn.number % 10_000:04}n{n % 1000:03}" for n, call in enumerate(said.calls)]
        step.messages = [
            {"role": "tool", "name": call.name or "invalid", "tool_call_id": id_, "content": each.text}
            for call, id_, each in zip(said.calls, ids, outcomes, strict=True)
        ]
        step.calls = [_message(call, id_) for call, id_ in zip(said.calls, ids, strict=True)]
        if self.spoken is Syntax.llama3_json:  # whose template prints one call of a turn, and no more
            del step.calls[1:]
        return step

    async def close(self) -> None:
        if (episode := vars(self).pop("_episode", None)) is not None:
            await episode.close()


def _message(call: Call, id_: str) -> dict[str, Any]:
    function = {"name": call.name or "invalid", "arguments": call.arguments}
    return {"id": id_, "type": "function", "function": function}


def _notes(calls: list[Call], outcomes: list[Outcome]) -> str:
    """`add ok; add failed; ? invalid_json`"""
    words = [
        f"{call.name or '?'} "
        + ("failed" if call.status is Status.ok and outcome.failed else call.status.value)
        + "".join(f" ({each})" for each in call.repairs)
        for call, outcome in zip(calls, outcomes, strict=True)
    ]
    return "; ".join(words)
