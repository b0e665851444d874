"""What a Python file imports from its own folder: found in its text, nothing is run.

`import a.b`, `from a import b` and, within packages there, relative imports, wherever they stand in the
text. Modules whose names are only made at run time, and files that are opened, are not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def imports_beside(file: Path) -> list[Path]:
    """The files below the file's folder that it imports, and those that these import; sorted, without it.

    A file that is not Python imports nothing.
    """
    folder, found, waiting = file.parent, set[Path](), [file]
    while waiting:
        for each in _imported(waiting.pop(), folder):
            if each not in found and each != file:
                found.add(each)
                waiting.append(each)
    return sorted(found)


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    package = file.parent.relative_to(folder).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(folder, tuple(alias.name.split(".")))
        elif isinstance(node, ast.ImportFrom):
            if node.level > len(package):  # beyond its folder, or relative in a file that is in no package
                continue
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = (*base, *(node.module.split(".") if node.module else ()))
            yield from _files(folder, whole)
            for alias in node.names:
                yield from _files(folder, (*whole, alias.name))


def _files(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Of `a.b`: `a/__init__.py` and `a/b.py` or `a/b/__init__.py`, as far as they are there."""
    for count in range(1, len(parts) + 1):
        base = folder.joinpath(*parts[:count])
        for each in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if each.is_file():
                yield each
                break
