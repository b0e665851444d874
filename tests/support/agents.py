"""Agent programs for tests, against the OpenAI client, as users write them. A row's `agent` picks one."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "The sum of two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
]


def run(task: dict[str, Any], base_url: str, api_key: str, model: str) -> Any:
    found = globals()[task["row"].get("agent", "loop")]
    return found(task, base_url, api_key, model)


def result(call: Any) -> dict[str, Any]:
    """The answer to one call."""
    given = json.loads(call.function.arguments)
    return {"role": "tool", "tool_call_id": call.id, "content": str(given["a"] + given["b"])}


def graded(task: dict[str, Any], said: str | None) -> float:
    return float((said or "").strip() == task["answer"])


def loop(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """Calls tools until there is an answer."""
    from openai import OpenAI

    messages: list[Any] = list(task["prompt"])
    with OpenAI(base_url=base_url, api_key=api_key) as client:
        while True:
            answer = client.chat.completions.create(model=model, messages=messages, tools=TOOLS)
            message = answer.choices[0].message
            messages.append(message)
            if not message.tool_calls:
                return graded(task, message.content)
            messages += map(result, message.tool_calls)


def loop_async(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    return asyncio.run(_loop_async(task, base_url, api_key, model))


async def _loop_async(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    from openai import AsyncOpenAI

    messages: list[Any] = list(task["prompt"])
    async with AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        while True:
            answer = await client.chat.completions.create(model=model, messages=messages, tools=TOOLS)
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                return graded(task, message.content)
            messages += map(result, message.tool_calls)


def loop_streaming(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """The client's own helper joins the events."""
    from openai import OpenAI

    messages: list[Any] = list(task["prompt"])
    with OpenAI(base_url=base_url, api_key=api_key) as client:
        while True:
            with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:
                message = stream.get_final_completion().choices[0].message
            messages.append(message)
            if not message.tool_calls:
                return graded(task, message.content)
            messages += map(result, message.tool_calls)


async def _streamed_by_hand(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    from openai import AsyncOpenAI

    messages: list[Any] = list(task["prompt"])
    async with AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        while True:
            content, calls = "", {}
            async for chunk in await client.chat.completions.create(
                model=model, messages=messages, tools=TOOLS, stream=True
            ):
                delta = chunk.choices[0].delta
                content += delta.content or ""
                for call in delta.tool_calls or ():
                    known = calls.setdefault(call.index, call)
                    if known is not call:
                        known.function.arguments += call.function.arguments
            said = [call.model_dump(exclude={"index"}) for call in calls.values()]
            turn = {"role": "assistant", "content": content}
            messages.append(turn | ({"tool_calls": said} if said else {}))
            if not said:
                return graded(task, content)
            messages += map(result, calls.values())


def loop_streaming_async(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    return asyncio.run(_streamed_by_hand(task, base_url, api_key, model))


def forgets(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """Begins another conversation in the middle, with what it has learned."""
    from openai import OpenAI

    with OpenAI(base_url=base_url, api_key=api_key) as client:
        first = client.chat.completions.create(model=model, messages=task["prompt"], tools=TOOLS)
        [call] = first.choices[0].message.tool_calls or []
        known: Any = {"role": "user", "content": f"The sum is {result(call)['content']}. What is it?"}
        answer = client.chat.completions.create(model=model, messages=[known])
        return graded(task, answer.choices[0].message.content)


def raises(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    from openai import OpenAI

    with OpenAI(base_url=base_url, api_key=api_key) as client:
        client.chat.completions.create(model=model, messages=task["prompt"])
    raise KeyError("no such thing")


def hangs(task: dict[str, Any], base_url: str, api_key: str, model: str) -> None:
    import httpx

    httpx.post(f"{base_url}/chat/completions", json={"messages": task["prompt"]}, timeout=20)
    time.sleep(60)


def shortens(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """Says too much, is told so, and says less."""
    from openai import BadRequestError, OpenAI

    messages: list[Any] = list(task["prompt"])
    with OpenAI(base_url=base_url, api_key=api_key) as client:
        answer = client.chat.completions.create(model=model, messages=messages)
        messages.append(answer.choices[0].message)
        try:
            too_much: Any = {"role": "user", "content": "x" * 2000}
            client.chat.completions.create(model=model, messages=[*messages, too_much])
        except BadRequestError as error:
            assert error.code == "context_length_exceeded"
        messages.append({"role": "user", "content": "and?"})
        answer = client.chat.completions.create(model=model, messages=messages)
        return graded(task, answer.choices[0].message.content)


def repeats_itself(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """Begins with two messages of one role, which some templates refuse."""
    from openai import BadRequestError, OpenAI

    with OpenAI(base_url=base_url, api_key=api_key) as client:
        try:
            client.chat.completions.create(model=model, messages=task["prompt"] * 2)
        except BadRequestError as error:
            assert "roles must alternate" in str(error)
            answer = client.chat.completions.create(model=model, messages=task["prompt"])
            return graded(task, answer.choices[0].message.content)
    return 0.0


def asks_nothing(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    return 1.0


def garbage(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """Sends what is no request, is told so, and goes on."""
    import httpx
    from openai import BadRequestError, OpenAI

    said = httpx.post(f"{base_url}/chat/completions", content=b'{"messages": [', timeout=20)
    assert said.status_code == 400 and "JSON" in said.json()["error"]["message"]
    with OpenAI(base_url=base_url, api_key=api_key) as client:
        try:
            client.chat.completions.create(model=model, messages=task["prompt"], n=3)
        except BadRequestError as error:
            assert "n is 3" in str(error)
        answer = client.chat.completions.create(model=model, messages=task["prompt"])
    return graded(task, answer.choices[0].message.content)


def drops(task: dict[str, Any], base_url: str, api_key: str, model: str) -> float:
    """Its connection breaks while the turn is sampled; the client repeats by itself."""
    from openai import OpenAI

    with OpenAI(base_url=base_url, api_key=api_key, timeout=task["row"]["timeout"]) as client:
        answer = client.chat.completions.create(model=model, messages=task["prompt"])
    return graded(task, answer.choices[0].message.content)
