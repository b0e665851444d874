"""A body of /chat/completions: what is taken, what is left aside, and what is refused in a line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.environments.environment import Ask, Message
from rlvr_cli.environments.gateway.messages import as_template
from rlvr_cli.environments.gateway.refused import Refused

MOST_STOPS = 4
NEUTRAL = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_p": 0.0}
"""Sampling that no run has -> the value at which it does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a program asks for."""

    model: str
    """Any name; the answer has the same."""
    messages: list[Message]
    """As chat templates take them."""
    ask: Ask
    calls: bool
    """Tools may be called: there are some, and tool_choice is not none."""
    one_call: bool
    """parallel_tool_calls is false: only the first of a turn counts."""
    stream: bool
    usage: bool
    """stream_options.include_usage."""
    logprobs: bool
    token_ids: bool
    """return_token_ids, as vLLM has it."""
    own: dict[str, float] = field(default_factory=dict)
    """Sampling that the request wants; the run has its own."""

    def overridden(self, temperature: float, top_p: float) -> bool:
        """Whether the run samples otherwise than the request wants."""
        run = NEUTRAL | {"temperature": temperature, "top_p": top_p}
        return any(value != run.get(key) for key, value in self.own.items())


def parsed(raw: bytes) -> ChatRequest:
    """Refused, with status 400, where it cannot be served."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refused("the body must be a JSON object")
    messages = _of(body, "messages", list, None)
    if not messages:
        raise Refused("messages must be a list with at least one message")
    _refuse(body)
    tools = _of(body, "tools", list, []) or []
    for each in tools:
        named = each.get("function") if isinstance(each, dict) else None
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            raise Refused('a tool must be {"type": "function", "function": {"name": ..., "parameters": ...}}')
    options = _of(body, "stream_options", dict, {}) or {}
    return ChatRequest(
        model=_of(body, "model", str, "policy") or "policy",
        messages=as_template(messages),
        ask=Ask(tools=tools, max_tokens=_most_tokens(body), stop=_stops(body)),
        calls=bool(tools) and body.get("tool_choice") != "none",
        one_call=body.get("parallel_tool_calls") is False,
        stream=_of(body, "stream", bool, False) or False,
        usage=options.get("include_usage") is True,
        logprobs=_of(body, "logprobs", bool, False) or False,
        token_ids=body.get("return_token_ids") is True,
        own=_own_sampling(body),
    )


def _refuse(body: dict[str, Any]) -> None:
    """What would need another way of sampling than the run's."""
    if (n := body.get("n")) not in (None, 1):
        raise Refused(f"n is {n}: a rollout has one completion of each request; ask again for another")
    if body.get("tool_choice") not in (None, "auto", "none"):
        raise Refused(
            "tool_choice: only auto and none are served: a forced call would not be the policy's own choice"
        )
    kind = (_of(body, "response_format", dict, {}) or {}).get("type", "text")
    if kind != "text":
        raise Refused(f"response_format {kind}: only text is served, since nothing constrains the policy")
    if body.get("top_logprobs"):
        raise Refused("top_logprobs: only the sampled token's logprob is known; leave it out or set 0")
    if body.get("chat_template_kwargs"):
        raise Refused("chat_template_kwargs: the run has one chat template for all; leave them out")
    if body.get("functions") or body.get("function_call"):
        raise Refused("functions and function_call have been replaced by tools and tool_choice; send those")
    if _of(body, "logit_bias", dict, {}):
        raise Refused("logit_bias would sample from another distribution than the policy's; leave it out")


def _of(body: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise Refused(f"{key} must be of type {kind.__name__}, and is {type(value).__name__}")
    return value


def _most_tokens(body: dict[str, Any]) -> int | None:
    given = {key: body[key] for key in ("max_tokens", "max_completion_tokens") if body.get(key) is not None}
    if len(given) == 2:
        raise Refused("max_tokens and max_completion_tokens mean the same; send one of them")
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Refused(f"{key} is {value!r}; it must be a whole number of at least 1")
        return value
    return None


def _stops(body: dict[str, Any]) -> list[str]:
    value = body.get("stop")
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > MOST_STOPS:
        raise Refused(f"stop must be a text or a list of at most {MOST_STOPS}")
    if not all(isinstance(each, str) and each for each in stops):
        raise Refused("stop must hold texts, and none that is empty")
    return stops


def _own_sampling(body: dict[str, Any]) -> dict[str, float]:
    found = {}
    for key in ("temperature", "top_p", "top_k", *NEUTRAL):
        value = body.get(key)
        if value is None or (key == "top_k" and value in (-1, 0)):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"{key} must be a number, and is {type(value).__name__}")
        found[key] = float(value)
    return found
