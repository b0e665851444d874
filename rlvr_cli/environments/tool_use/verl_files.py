"""Files written for verl: functions that `@function_tool` has registered, with or without verl.

Where verl is not installed, modules of its names stand in for what such files import of it: the decorator,
`ToolResponse` and `OpenAIFunctionToolSchema`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

DECORATOR = "verl.tools.function_tool"


@dataclass
class ToolResponse:
    """What a tool says."""

    text: str | None = None
    image: list[Any] | None = None
    video: list[Any] | None = None


@dataclass
class OpenAIFunctionToolSchema:
    """A schema that a file gives itself."""

    type: str = "function"
    function: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def model_validate(cls, value: dict[str, Any]) -> OpenAIFunctionToolSchema:
        return cls(**value)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"type": self.type, "function": self.function}


def stand_in() -> None:
    """Have modules of these names, unless verl is installed."""
    if DECORATOR in sys.modules or find_spec("verl") is not None:
        return
    registry: dict[str, Any] = {}

    def function_tool(name: Any = None, *, description: str | None = None, schema: Any = None) -> Any:
        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            called = name if isinstance(name, str) else function.__name__
            registry[called] = SimpleNamespace(
                name=called, fn=function, description=description, tool_schema=schema
            )
            return function

        return register(name) if callable(name) else register

    made: dict[str, dict[str, Any]] = {
        "verl": {},
        "verl.tools": {},
        "verl.tools.schemas": {
            "ToolResponse": ToolResponse,
            "OpenAIFunctionToolSchema": OpenAIFunctionToolSchema,
        },
        DECORATOR: {"function_tool": function_tool, "FUNCTION_TOOL_REGISTRY": registry},
    }
    for path, content in made.items():
        module = ModuleType(path)
        vars(module).update(content, __path__=[])
        sys.modules[path] = module
        parent, _, last = path.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)


def registered(module: ModuleType) -> list[Any]:
    """What a loaded file has registered: objects with `name`, `fn`, `tool_schema`, in order."""
    registry = getattr(sys.modules.get(DECORATOR), "FUNCTION_TOOL_REGISTRY", {})
    return [each for each in registry.values() if getattr(each.fn, "__module__", None) == module.__name__]
