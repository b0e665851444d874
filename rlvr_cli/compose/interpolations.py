"""How long a recipe's values become when its `${...}` are filled in, before they are."""

from __future__ import annotations

import re
from typing import Any

MAX_FILLED = 1_000_000
"""Characters and nodes of one value with what its interpolations stand for."""
_REFERENCE = re.compile(r"\$\{\s*(\.*)([\w.\-]+)\s*\}")
Path = tuple[str, ...]


def check_interpolations(tree: dict[str, Any]) -> None:
    """ValueError, key first, for a value that stands for more than any text or list of a recipe."""
    sizes: dict[Path, int] = {}
    for key in tree:
        _size(tree, (str(key),), sizes)


def _size(tree: Any, path: Path, sizes: dict[Path, int]) -> int:
    """Of the value at `path`, filled in; 0 of one that is not there, or holds itself."""
    if path in sizes:
        return sizes[path]
    sizes[path] = 0  # a circle is for OmegaConf to refuse
    node = _at(tree, path)
    total = 1
    if isinstance(node, dict):
        total += sum(_size(tree, (*path, str(key)), sizes) for key in node)
    elif isinstance(node, list):
        total += sum(_size(tree, (*path, str(index)), sizes) for index in range(len(node)))
    elif isinstance(node, str):
        total += len(node)
        for dots, key in _REFERENCE.findall(node):
            above = path[: len(path) - len(dots)] if dots else ()
            total += _size(tree, (*above, *key.split(".")), sizes)
    sizes[path] = total
    if total > MAX_FILLED:
        raise ValueError(f"{'.'.join(path)}: its ${{...}} stand for more than {MAX_FILLED} characters")
    return total


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict):
            tree = next((value for key, value in tree.items() if str(key) == part), None)
        else:
            return None
    return tree
