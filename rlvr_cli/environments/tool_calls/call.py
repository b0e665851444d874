"""What is read from a turn, and what has to be known to read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Syntax(Enum):
    auto = "auto"
    """What the model's chat template prints."""
    hermes = "hermes"
    """`<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>`: Qwen2.5, Qwen3, Hermes."""
    llama3_json = "llama3_json"
    """The whole turn is `{"name": "f", "parameters": {"a": 1}}`: Llama 3.1, 3.2."""
    pythonic = "pythonic"
    """`[f(a=1), g(b="x")]`: Llama 3.2 and 4 by their cards, LFM2."""
    qwen3_coder = "qwen3_coder"
    """`<tool_call><function=f><parameter=a>1</parameter></function></tool_call>`: Qwen3-Coder, Qwen3.5."""
    mistral = "mistral"
    """`[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]`, or `[TOOL_CALLS]f[ARGS]{"a": 1}`."""
    tags = "tags"
    """`<f>argument</f>`, answered by `<result>...</result>` in the same turn: models without a template."""


class Status(Enum):
    """What became of an attempt to call."""

    ok = "ok"
    invalid_json = "invalid_json"
    unclosed = "unclosed"
    """It ends before it is whole: at the limit of tokens, mostly."""
    missing_name = "missing_name"
    malformed = "malformed"
    unknown_tool = "unknown_tool"
    """Well-formed, but there is no tool of that name."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One attempt. Unless its status is `ok` or `unknown_tool`, `problem` says what is wrong with it."""

    status: Status = Status.ok
    name: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    """As the policy has given it, in syntaxes that have one."""
    problem: str = ""
    repairs: tuple[str, ...] = ()
    """What had to be mended: `fence`, `comma`, `quoted`."""


@dataclass(slots=True, kw_only=True)
class Said:
    """A turn: its text outside of calls, and the calls in order."""

    content: str
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How the calls of a policy are read."""

    syntax: Syntax
    parameters: Mapping[str, Mapping[str, Any]]
    """Name of a tool -> JSON schema of its arguments."""
    repair: bool = False
    """Mend what `Call.repairs` names, and nothing else."""
    thinking: bool = False
    """The prompt has opened a thought: without `</think>` all of a turn is one."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tag -> tool, of the syntax `tags`."""
