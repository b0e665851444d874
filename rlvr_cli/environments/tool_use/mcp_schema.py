"""What a server says of its tools, as chat templates print it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.tool_use.tool import Schema

LONGEST = 64
DROPPED = ("$schema", "$defs", "definitions", "$id", "additionalProperties", "title")
DEEPEST = 16
"""References within references; one to itself has an end."""


def openai_form(server: str, tool: Any) -> Schema:
    """`server__tool` with description and parameters: references resolved, what templates need not print
    left out."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{server}__{tool.name}")
    if len(name) > LONGEST:
        raise UserError(
            f"its tool {tool.name} would be called {name}, which is longer than {LONGEST} characters"
        )
    parameters = cleaned(tool.schema, tool.schema, 0)
    parameters.setdefault("type", "object")
    parameters.setdefault("properties", {})
    description = tool.description or ""
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def cleaned(node: Any, root: Mapping[str, Any], depth: int) -> Any:
    """A schema without references and without what says nothing to a policy."""
    if isinstance(node, list):
        return [cleaned(each, root, depth) for each in node]
    if not isinstance(node, Mapping):
        return node
    if isinstance(ref := node.get("$ref"), str):
        target = _target(ref, root) if depth < DEEPEST else {}
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return cleaned({**target, **rest}, root, depth + 1)
    found = {}
    for key, value in node.items():
        if key == "properties" and isinstance(value, Mapping):  # whose keys are names, `title` among them
            found[key] = {name: cleaned(each, root, depth) for name, each in value.items()}
        elif key not in DROPPED:
            found[key] = cleaned(value, root, depth)
    return found


def _target(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `#/$defs/Name` refers to; nothing of a reference elsewhere."""
    node: Any = root
    for part in ref.removeprefix("#/").split("/") if ref.startswith("#/") else [""]:
        part = part.replace("~1", "/").replace("~0", "~")
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    return node if isinstance(node, Mapping) else {}
