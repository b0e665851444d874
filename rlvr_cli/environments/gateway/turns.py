"""A turn's text -> what a program is given."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from rlvr_cli.environments.environment import Message, Turn
from rlvr_cli.environments.gateway.messages import Issued
from rlvr_cli.environments.gateway.reply import Reply
from rlvr_cli.environments.gateway.request import ChatRequest
from rlvr_cli.environments.tool_calls import Grammar, Status, parse
from rlvr_cli.environments.tool_use.tool import parameters_of

GIVEN_ON = (Status.ok, Status.unknown_tool)
"""Calls that a program gets, which says itself that it has no such tool; others stay text."""


@dataclass(slots=True, kw_only=True)
class Read:
    """A turn, read."""

    content: str
    thought: str | None
    calls: list[Message]
    unreadable: int
    """Calls that are none."""


@dataclass(slots=True)
class Turns:
    """Of one episode: ids of calls are unique in it. They have nine letters and digits, as Mistral's must."""

    grammar: Grammar
    """Without tools, which each request brings."""
    issued: int = 0

    def read(self, turn: Turn, request: ChatRequest) -> Read:
        """Text, thought and calls. Where no call can be read the text is whole: nothing is made up."""
        text = turn.text.removesuffix(turn.stopped_by) if turn.stopped_by else turn.text
        thought, content = _split(text, self.grammar.thinking)
        if not request.calls:
            return Read(content=content, thought=thought, calls=[], unreadable=0)
        tools = {each["function"]["name"]: parameters_of(each) for each in request.ask.tools or ()}
        said = parse(text, replace(self.grammar, parameters=tools))
        calls = [call for call in said.calls if call.status in GIVEN_ON]
        unreadable = len(said.calls) - len(calls)
        if request.one_call:
            del calls[1:]
        if not calls:
            return Read(content=content, thought=thought, calls=[], unreadable=unreadable)
        made = [self._call(call.name, call.arguments) for call in calls]
        return Read(content=said.content, thought=thought, calls=made, unreadable=unreadable)

    def _call(self, name: str, arguments: dict[str, object]) -> Message:
        self.issued += 1
        function = {"name": name, "arguments": arguments}
        return {"id": f"call{self.issued:05}", "type": "function", "function": function}


def reply(turn: Turn, read: Read, id_: str) -> Reply:
    """What goes out."""
    assert turn.sampled is not None
    finish = "tool_calls" if read.calls else "stop" if turn.finished else "length"
    return Reply(
        id=id_,
        created=int(time.time()),
        content=read.content,
        thought=read.thought,
        calls=read.calls,
        finish=finish,
        sampled=turn.sampled,
    )


def issued(turn: Turn, read: Read) -> Issued:
    """How the turn is known when it comes back."""
    return Issued(texts=(read.content, turn.text), calls=read.calls)


def _split(text: str, thinking: bool) -> tuple[str | None, str]:
    """Thought, None without one, and what follows it."""
    before, ended, behind = text.rpartition("</think>")
    if ended:
        return before.rpartition("<think>")[2].strip(), behind.strip()
    if thinking:
        return text.strip(), ""
    before, began, thought = text.partition("<think>")
    return (thought.strip(), before.strip()) if began else (None, text)
