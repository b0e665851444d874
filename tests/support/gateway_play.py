"""An `External` whose program is a function of the test and whose policy is a list of turns: no engine, no
worker, one event loop."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from rlvr_cli.environments.environment import Opening, Refusal, Sampled, Step, Task, Turn
from rlvr_cli.environments.external import External
from rlvr_cli.environments.tool_calls import Syntax

TASK = Task(
    id="t",
    prompt=[{"role": "user", "content": "Q"}],
    question="Q",
    answer="5",
    golds=["5"],
    row={"level": 2},
    seed=1,
)
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}
ADDS = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
CLIENT = httpx.Client(verify=False, timeout=20)  # nothing is encrypted, and certificates are slow to read
USER = {"role": "user", "content": "Q"}


@dataclass
class Played:
    opening: Opening | None = None
    steps: list[Step] = field(default_factory=list)
    returned: Any = None
    """What the program has returned, or how it failed."""
    raised: str = ""
    """What has ended the episode without a verdict."""

    @property
    def measures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for step in self.steps:
            for key, value in step.measures.items():
                found[key] = found.get(key, 0.0) + value
        return found


def sampled(text: str, room: int = 100, temperature: float = 1.0) -> Sampled:
    return Sampled(
        prompt=[7, 8, 9],
        tokens=list(range(len(text))),
        pieces=list(text),
        logprobs=[-n / 8 for n in range(len(text))],
        temperature=temperature,
        top_p=1.0,
        room=room,
    )


def turn(text: str, **more: Any) -> Turn:
    fields: dict[str, Any] = {"number": 1, "last": False, "finished": True, "sampled": sampled(text)}
    return Turn(text=text, **(fields | more))


def refused(text: str = "too much", too_long: bool = True) -> Turn:
    return turn("", finished=False, sampled=None, refused=Refusal(text=text, too_long=too_long))


Said = str | Turn | Callable[[], Turn]


def played(program: Callable[..., Any], *turns: Said, **settings: Any) -> Played:
    """The program is called as one of a recipe is; `turns` are said one after the other, while it asks."""
    out = Played()

    def remembered(*given: Any) -> Any:
        try:
            out.returned = program(*given)
        except Exception as error:
            out.returned = error
            raise
        return out.returned

    async def play() -> None:
        made = External(function="agents.py:f", **({"syntax": Syntax.hermes, "grace_s": 0.5} | settings))
        made.warm_with(remembered)
        episode = copy.copy(made)
        try:
            out.opening = await episode.reset(TASK)
            for number, each in enumerate(turns, 1):
                each = await asyncio.to_thread(each) if callable(each) else each
                said = each if isinstance(each, Turn) else turn(each)
                said.number = number
                out.steps.append(await asyncio.wait_for(episode.step(said), 20))
                if out.steps[-1].over or said.last:
                    return
            raise AssertionError("the program goes on after the last turn")
        except RuntimeError as error:
            out.raised = str(error)
        finally:
            await episode.close()
            if made._gateway._runner is not None:
                await made._gateway._runner.cleanup()

    asyncio.run(play())
    return out


def posted(
    base_url: str, key: str, *, path: str = "/chat/completions", headers: Any = None, **body: Any
) -> Any:
    """The answer to a request, as httpx has it; `raw`: a body as it is."""
    given = {"Authorization": f"Bearer {key}"} | (headers or {})
    if "raw" in body:
        return CLIENT.post(f"{base_url}{path}", content=body["raw"], headers=given)
    body = {"model": "m", "messages": [USER]} | body
    return CLIENT.post(f"{base_url}{path}", json=body, headers=given)
