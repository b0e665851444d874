"""Plays an environment with a scripted policy, without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlvr_cli.environments.environment import Environment, Step, Task, Turn


def task(question: str, golds: list[str], **more: Any) -> Task:
    fields = {"id": question, "prompt": [{"role": "user", "content": question}], "row": {}, "seed": 0}
    return Task(question=question, answer=golds[0], golds=golds, **(fields | more))


def played(environment: Environment, each: Task, policy: Callable[[str], str]) -> Iterator[Step]:
    """The steps of an episode; `policy` gets all that stands before its turn. `warm` has been called."""
    messages = environment.reset(each) or each.prompt
    seen = "".join(message["content"] for message in messages)
    for number in range(1, environment.max_turns + 1):
        text = policy(seen)
        last = number == environment.max_turns
        step = environment.step(Turn(text=text, number=number, last=last, finished=True))
        yield step
        if step.over:
            return
        seen += text + step.text
    raise AssertionError("the environment goes on after the last turn")
