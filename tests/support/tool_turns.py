"""Turns of a policy that calls tools, and an environment that is asked directly."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

from rlvr_cli.environments.environment import Step, Task, Turn
from rlvr_cli.environments.tools import Tools

TASK = Task(
    id="t", prompt=[{"role": "user", "content": "Q"}], question="Q", answer="", golds=[], row={}, seed=1
)


def call(name: str, **arguments: Any) -> str:
    """A call in the syntax of Hermes."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def turn(text: str, number: int = 1, *, last: bool = False) -> Turn:
    return Turn(text=text, number=number, last=last, finished=True)


def played(tools: Tools, *texts: str, last: bool = False) -> list[Step]:
    """The answers to an episode's turns, of an environment that is warm."""

    async def play() -> list[Step]:
        episode = copy.copy(tools)
        await episode.reset(TASK)
        try:
            return [await episode.step(turn(text, number, last=last)) for number, text in enumerate(texts, 1)]
        finally:
            await episode.close()

    return asyncio.run(play())
