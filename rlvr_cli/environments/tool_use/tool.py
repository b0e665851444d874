"""What a tool is to the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

Schema = dict[str, Any]
"""{"type": "function", "function": {"name", "description", "parameters"}}, as templates print it."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a call."""

    text: str
    failed: bool = False
    """It is an error, as the policy is told."""
    reward: float | None = None
    """What the call earns; None: nothing."""
    measures: dict[str, float] = field(default_factory=dict)


class Tool(Protocol):
    """One tool. `run` gets arguments that fit the schema; an exception of it is told to the policy, unless it
    is `NoVerdict`."""

    @property
    def schema(self) -> Schema: ...

    async def run(self, arguments: dict[str, Any]) -> Outcome: ...


class NoVerdict(RuntimeError):
    """The tool itself is broken, by no fault of the policy: the episode has no verdict."""


def name_of(schema: Schema) -> str:
    return str(schema["function"]["name"])


def parameters_of(schema: Schema) -> dict[str, Any]:
    """JSON schema of its arguments."""
    found: dict[str, Any] = schema["function"].get("parameters") or {"type": "object", "properties": {}}
    return found
