"""Classes of the user's that adapters make environments of: `file.py:Name`, `package.module:Name`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import origins
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.verifiers.user_code.load import Unusable, load


def check_factory(text: str) -> None:
    """ValueError where it is no such name."""
    try:
        named = Entry.parse(text).function is not None
    except ValueError:
        named = False
    if not named:
        raise ValueError(f"factory is '{text}'; it must be file.py:Name or package.module:Name")


def load_factory(text: str) -> Callable[..., Any]:
    """The class or function; UserError, in a line, where it cannot be had."""
    entry = Entry.parse(text)
    assert entry.function is not None
    try:
        if entry.path is None:
            return _callable(load(None, b"", entry.module, entry.function, [str(Path.cwd())]))
        content = Path(entry.path).read_bytes()
        folders = [str(each.parent) for each in origins(Path(entry.path).resolve())]
        return _callable(load(entry.path, content, None, entry.function, folders))
    except OSError as error:
        raise UserError(f"factory: {entry.path}: {error.strerror}") from None
    except Unusable as error:
        raise UserError(f"factory: {error}") from error


def _callable(loaded: tuple[Any, Any]) -> Callable[..., Any]:
    found: Callable[..., Any] = loaded[1]
    return found
