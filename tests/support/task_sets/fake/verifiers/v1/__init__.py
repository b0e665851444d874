"""As much of the package verifiers 0.4.0 as rlvr asks: one turn, one agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

import verifiers

Data, Config, Seed = TypeVar("Data"), TypeVar("Config"), TypeVar("Seed")


class TaskData(BaseModel):
    model_config = ConfigDict(frozen=True)
    idx: int | None = None
    prompt: str | None = None
    system_prompt: str | None = None


class TasksetConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = ""
    task: Any = None


class Trace(SimpleNamespace):
    last_reply: str | None


def reward(weight: float = 1.0) -> Callable[[Any], Any]:
    def mark(method: Any) -> Any:
        method.weight = weight
        return method

    return mark


class Task(Generic[Data]):
    def __init__(self, data: Any, config: Any = None) -> None:
        self.data = data

    async def score(self, trace: Trace) -> None:
        for name in dir(type(self)):
            if (weight := getattr(method := getattr(self, name), "weight", None)) is not None:
                trace.rewards[name] = SimpleNamespace(value=weight * await method(trace))
        trace.reward = sum(each.value for each in trace.rewards.values())


class Taskset(Generic[Seed, Config]):
    bounded = True

    def __init__(self, config: Any) -> None:
        self.config = config

    def load(self) -> Iterable[Any]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        for idx, task in enumerate(self.load()):
            task.data = task.data.model_copy(update={"idx": idx})
            yield task


class Env(Generic[Config]):
    def __init__(self, config: Any, taskset: Taskset[Any, Any]) -> None:
        assert config.agent == {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}
        self.taskset = taskset

    @asynccontextmanager
    async def serving(self) -> Any:
        yield

    async def run_episode(self, task: Task[Any], context: Any) -> Any:
        trace = Trace(rewards={}, metrics={}, errors=[], last_reply=None)
        messages = [{"role": "user", "content": task.data.prompt}]
        url = context.client.base_url
        trace.last_reply = await asyncio.to_thread(verifiers.chat, url, messages, context.model)
        await task.score(trace)
        return SimpleNamespace(ok=True, errors=[], traces=[trace])
