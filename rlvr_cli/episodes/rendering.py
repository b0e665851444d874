"""What is added to a conversation, as token ids: never by encoding again what has been sampled.

The chat template renders a small conversation of ours without and with the new messages; the difference is
what it would have put after the real one. So markers, headings and newlines are the template's own, and
nothing that the policy has written is read by it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Message

FILLER = "x"
JOINER = "\N{ZERO WIDTH JOINER}"
CACHED = 4096
OTHERS = 64


class TemplateRefuses(UserError):
    """The chat template has no place for these messages after a conversation."""


class Rendering:
    """Renders for one tokenizer. `stops`: ids that end a turn; `tools`: what prompts announce."""

    def __init__(
        self, tokenizer: Any, stops: Collection[int], *, tools: Sequence[dict[str, Any]] = ()
    ) -> None:
        self._tokenizer, self._stops = tokenizer, frozenset(stops)
        self._tools = list(tools) or None  # an empty list prints boilerplate
        self._known: OrderedDict[str, list[int]] = OrderedDict()
        self._others: OrderedDict[str, Rendering] = OrderedDict()

    def announcing(self, tools: Sequence[dict[str, Any]] | None) -> Rendering:
        """One whose prompts announce these tools; null: this one."""
        if tools is None:
            return self
        key = json.dumps(tools)
        if key not in self._others:
            self._others[key] = Rendering(self._tokenizer, self._stops, tools=tools)
            if len(self._others) > OTHERS:
                self._others.popitem(last=False)
        return self._others[key]

    @property
    def end(self) -> int:
        """The id that ends a turn in the template, for one that was cut off."""
        if not hasattr(self, "_end"):
            ids = self._rendered([{"role": "user", "content": FILLER}, _said()], opening=False)
            ends = [token for token in ids if token in self._stops]
            self._end: int = ends[-1] if ends else next(iter(sorted(self._stops)))
        return self._end

    def opened(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a whole conversation up to where the policy begins to write."""
        if not self._tokenizer.chat_template:
            return self.plain("".join(str(message["content"]) for message in messages))
        return self._rendered(messages, opening=True)

    def plain(self, text: str) -> list[int]:
        """Ids of a text that stands for itself: the name of a special token in it is letters, no token."""
        found = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(found["input_ids"])

    def harmless(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with a joiner within each name of a special token: what a tool or a user says cannot
        end its own turn and forge another. The policy's own stay as they are."""
        return [
            message
            if message.get("role") == "assistant" or not isinstance(message.get("content"), str)
            else {**message, "content": self._spelled(message["content"])}
            for message in messages
        ]

    def _spelled(self, text: str) -> str:
        for name in self._tokenizer.all_special_tokens:
            if name in text:
                text = text.replace(name, f"{name[0]}{JOINER}{name[1:]}")
        return text

    def added(self, messages: Sequence[Message], calls: Sequence[Message] = ()) -> list[int]:
        """Ids that follow the end of a turn of the policy: these messages, and the opening of its next turn.

        `calls`: the tool calls of that turn, where the messages are their results. TemplateRefuses where no
        conversation of ours can be continued by them. Without a template, their texts.
        """
        if not self._tokenizer.chat_template:
            return self.plain("".join(str(message["content"]) for message in messages))
        key = json.dumps([list(messages), list(calls)], sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._difference(messages, calls)
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        return self._known[key]

    def _difference(self, messages: Sequence[Message], calls: Sequence[Message]) -> list[int]:
        refusal = "none of its turns ends in a token that ends an answer"
        for before in conversations(messages, calls):
            try:
                start = self._rendered(before, opening=False)
                whole = self._rendered([*before, *messages], opening=True)
            except Exception as error:  # templates raise what they like
                refusal = f"{type(error).__name__}: {error}"
                continue
            end = max((n for n, token in enumerate(start, 1) if token in self._stops), default=0)
            if not end:
                continue
            if whole[:end] == start[:end]:
                return whole[end:]
            refusal = "it prints earlier turns otherwise once these follow"
        roles = ", ".join(str(message["role"]) for message in messages)
        raise TemplateRefuses(f"the chat template cannot go on with messages of {roles}: {refusal}")

    def _rendered(self, messages: Sequence[Message], *, opening: bool) -> list[int]:
        render: Callable[..., Any] = self._tokenizer.apply_chat_template
        text = render(list(messages), tools=self._tools, tokenize=False, add_generation_prompt=opening)
        return list(self._tokenizer(str(text), add_special_tokens=False)["input_ids"])


def conversations(messages: Sequence[Message], calls: Sequence[Message]) -> Iterator[list[Message]]:
    """What to render `messages` after: such conversations as they may follow, the likeliest first.

    After calls of tools the policy's turn has a thought: Qwen3 prints an empty one only where it is the last
    turn. Before a message of the user there is none, where a template allows that: templates that drop
    earlier thoughts print such turns otherwise.
    """
    user: Message = {"role": "user", "content": FILLER}
    if calls:
        turn = _said() | {"content": "", "tool_calls": list(calls)}
        yield [user, turn | {"reasoning_content": FILLER}]
        yield [user, turn]
        return
    if messages[0]["role"] == "user":
        yield [{"role": "system", "content": FILLER}, user]
    yield [user, _said()]
    yield [user, _said() | {"reasoning_content": FILLER}]


def _said() -> Message:
    return {"role": "assistant", "content": FILLER}
