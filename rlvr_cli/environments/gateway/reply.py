"""A turn as an answer of /chat/completions: in one piece, or as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.environments.environment import Message, Sampled
from rlvr_cli.environments.gateway.request import ChatRequest


@dataclass(slots=True, kw_only=True)
class Reply:
    """What is given out for a turn."""

    id: str
    created: int
    """Seconds since 1970."""
    content: str
    thought: str | None
    calls: list[Message] = field(default_factory=list)
    """With ids; arguments as objects."""
    finish: str
    """tool_calls, length or stop."""
    sampled: Sampled

    def completion(self, request: ChatRequest) -> dict[str, Any]:
        """The answer in one piece."""
        message: Message = {"role": "assistant", "content": self.content or (None if self.calls else "")}
        if self.calls:
            message["tool_calls"] = [_sent(call) for call in self.calls]
        if self.thought is not None:
            message["reasoning_content"] = self.thought
        choice = {"index": 0, "message": message, "logprobs": self._logprobs(request)}
        choice["finish_reason"] = self.finish
        body = self._head(request, "chat.completion") | {"choices": [choice], "usage": self.usage}
        if request.token_ids:
            choice["token_ids"] = self.sampled.tokens
            body["prompt_token_ids"] = self.sampled.prompt
        return body

    def chunks(self, request: ChatRequest) -> Iterator[dict[str, Any]]:
        """The same as events; ids, names and types of calls stand in their first one only."""
        for delta in self._deltas():
            last = delta == {}
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
            if last:
                choice["finish_reason"] = self.finish
                choice["logprobs"] = self._logprobs(request)
                if request.token_ids:
                    choice["token_ids"] = self.sampled.tokens
            event = self._head(request, "chat.completion.chunk") | {"choices": [choice]}
            if last and request.token_ids:
                event["prompt_token_ids"] = self.sampled.prompt
            yield event
        if request.usage:
            yield self._head(request, "chat.completion.chunk") | {"choices": [], "usage": self.usage}

    @property
    def usage(self) -> dict[str, int]:
        prompt, written = len(self.sampled.prompt), len(self.sampled.tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
        }

    def _deltas(self) -> Iterator[dict[str, Any]]:
        yield {"role": "assistant", "content": ""}
        if self.thought:
            yield {"reasoning_content": self.thought}
        if self.content:
            yield {"content": self.content}
        for index, call in enumerate(map(_sent, self.calls)):
            arguments = call["function"].pop("arguments")
            call["function"]["arguments"] = ""
            yield {"tool_calls": [{"index": index, **call}]}
            yield {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
        yield {}

    def _head(self, request: ChatRequest, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": request.model}

    def _logprobs(self, request: ChatRequest) -> dict[str, Any] | None:
        if not request.logprobs or not self.sampled.logprobs:
            return None
        rows = zip(self.sampled.pieces, self.sampled.logprobs, strict=True)
        content = [
            {"token": piece, "logprob": value, "bytes": _bytes(piece), "top_logprobs": []}
            for piece, value in rows
        ]
        return {"content": content, "refusal": None}


def _bytes(piece: str) -> list[int] | None:
    """None where the token is a part of a character."""
    return None if "\N{REPLACEMENT CHARACTER}" in piece else list(piece.encode())


def _sent(call: Message) -> Message:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
