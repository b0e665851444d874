"""Messages as programs send them and as chat templates take them, and whether they go on from what is known.

Programs send back what they got with other spaces, keys and spellings; that is no other history. What the
policy has sampled is known by the ids of its calls, which are unique in a session, or by its text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.environments.environment import Message
from rlvr_cli.environments.gateway.refused import Refused

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def as_template(messages: Sequence[Any]) -> list[Message]:
    """Refused where one is none. Results of tools get the name of the tool, which some templates print."""
    found: list[Message] = []
    names: dict[str, str] = {}
    for number, each in enumerate(messages):
        message = _one(f"messages[{number}]", each)
        for call in message.get("tool_calls", ()):
            names[call.get("id", "")] = call["function"]["name"]
        if message["role"] == "tool" and message.get("tool_call_id") in names:
            message.setdefault("name", names[message["tool_call_id"]])
        found.append(message)
    return found


def _one(place: str, given: Any) -> Message:
    if not isinstance(given, dict) or given.get("role") not in ROLES:
        raise Refused(f"{place} must be an object with a role: {', '.join(ROLES)}")
    role = ROLES[given["role"]]
    message: Message = {"role": role, "content": _text(place, given.get("content"))}
    if role == "assistant" and given.get("tool_calls"):
        if not isinstance(given["tool_calls"], list):
            raise Refused(f"{place}.tool_calls must be a list")
        message["tool_calls"] = [_call(place, each) for each in given["tool_calls"]]
    if role == "assistant" and isinstance(given.get("reasoning_content"), str):
        message["reasoning_content"] = given["reasoning_content"]
    for key in ("tool_call_id", "name") if role == "tool" else ():
        if isinstance(given.get(key), str):
            message[key] = given[key]
    return message


def _text(place: str, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused(f"{place}.content must be a text, a list of parts or null")
    texts = [part.get("text", part.get("refusal")) if isinstance(part, dict) else None for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise Refused(f"{place}.content has a part that is no text; the policy reads text alone")
    return "".join(map(str, texts))


def _call(place: str, given: Any) -> Message:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Refused(f"{place}.tool_calls: a call must have a function with a name")
    arguments = function.get("arguments")
    try:
        value = json.loads(arguments or "{}") if isinstance(arguments, str | None) else arguments
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(f"{place}.tool_calls: arguments must be a JSON object, as a text")
    call: Message = {"type": "function", "function": {"name": function["name"], "arguments": value}}
    if isinstance(given.get("id"), str):
        call["id"] = given["id"]
    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a turn was given out as."""

    texts: tuple[str, ...]
    """Its content, and what else of the turn comes back as content."""
    calls: list[Message] = field(default_factory=list)

    def is_in(self, message: Message) -> bool:
        """Whether this is what a program has made of it."""
        if message["role"] != "assistant":
            return False
        calls = message.get("tool_calls", [])
        if self.calls:
            return [each.get("id") for each in calls] == [each["id"] for each in self.calls]
        return not calls and message["content"].strip() in {text.strip() for text in self.texts}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A conversation that is a sequence of the episode, as far as it has been told or sampled."""

    said: list[Message | Issued]
    tools: list[dict[str, Any]]

    def tail(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[Message] | None:
        """What these messages have behind this history; None where they do not go on from it: it has been
        rewritten, or they are another conversation."""
        known = len(self.said)
        if list(tools) != self.tools or len(messages) <= known:
            return None
        if not all(_same(old, new) for old, new in zip(self.said, messages, strict=False)):
            return None
        rest = list(messages[known:])
        return None if any(message["role"] == "assistant" for message in rest) else rest

    def with_turn(self, turn: Issued) -> History:
        return History(said=[*self.said, turn], tools=self.tools)

    def with_messages(self, messages: Sequence[Message]) -> History:
        return History(said=[*self.said, *messages], tools=self.tools)

    @property
    def calls(self) -> list[Message]:
        """Those of the last turn."""
        last = self.said[-1]
        return list(last.calls) if isinstance(last, Issued) else []


def _same(old: Message | Issued, new: Message) -> bool:
    if isinstance(old, Issued):
        return old.is_in(new)
    return _canonical(old) == _canonical(new)


def _canonical(message: Message) -> Any:
    content = message["content"].strip() if message["role"] == "assistant" else message["content"]
    calls = [
        (call.get("id"), call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls", ())
    ]
    return message["role"], content, calls, message.get("tool_call_id")
