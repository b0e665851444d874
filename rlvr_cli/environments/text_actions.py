"""What adapters of text environments have in common: an action of a turn, a text of an observation."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from rlvr_cli.environments.environment import Message, Task
from rlvr_cli.verifiers.extract import Extraction, Rejected, after_reasoning, extract

TEXTS = ("prompt", "text")
"""Keys of an observation that is a mapping, whose text is all that is shown."""


def action_of(text: str, extraction: Extraction | None, thinking: bool) -> str:
    """What follows the thought, or what `extraction` finds; Rejected where that is nothing."""
    if extraction is None:
        return after_reasoning(text, thinking).strip()
    return extract(text, extraction, thinking)


def unreadable(rejected: Rejected) -> str:
    """For the policy."""
    return f"There is no action to be found: {rejected.verdict.detail}."


def text_of(observation: Any) -> str:
    """A text as it is; of a mapping `prompt`, `text` or the contents of `messages`; else JSON."""
    if isinstance(observation, dict):
        for key in TEXTS:
            if isinstance(observation.get(key), str):
                return str(observation[key])
        if isinstance(said := observation.get("messages"), list):
            return "\n".join(str(e.get("content", "")) if isinstance(e, dict) else str(e) for e in said)
    if isinstance(observation, dict | list | tuple):
        return json.dumps(observation, ensure_ascii=False, default=str)
    return str(observation)


def opening(task: Task, observation: str) -> list[Message]:
    """The prompt, and the first observation on lines of its own behind its last message."""
    *before, last = task.prompt
    return [*before, last | {"content": "\n\n".join(filter(None, (str(last["content"]), observation)))}]


def seed_of(task: Task) -> int:
    """The same for all episodes of a problem, which then begin alike: its `seed`, or one made of its id."""
    given = task.row.get("seed")
    return crc32(task.id.encode()) >> 1 if given is None else int(given)
