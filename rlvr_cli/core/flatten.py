"""Trees of plain values: recipes, and what requests hold."""

from __future__ import annotations

from typing import Any


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}"""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def deeper(node: Any, levels: int) -> bool:
    """Whether a tree of mappings and lists has more than so many levels."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return any(levels == 0 or deeper(each, levels - 1) for each in below)
