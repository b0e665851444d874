"""How a recipe names functions: `file.py`, `file.py:function`, `package.module:function`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Functions of a file or of a module."""

    path: str | None = None
    module: str | None = None
    function: str | None = None
    """None: all public functions of a file."""

    @classmethod
    def parse(cls, text: str) -> Entry:
        """ValueError where it is no such name."""
        place, colon, function = text.rpartition(":")
        if not colon or function.endswith(".py"):
            place, function = text, ""
        if not place or (colon and place != text and not function):
            raise ValueError(f"'{text}' names no function; write file.py or file.py:function")
        if not all(part.isidentifier() for part in function.split(".")) and function:
            raise ValueError(f"'{text}': '{function}' is no name of a function")
        if place.endswith(".py"):
            return cls(path=place, function=function or None)
        if "/" in place or not all(part.isidentifier() for part in place.split(".")):
            raise ValueError(f"'{place}' is no Python file; its name must end in .py")
        if not function:
            raise ValueError(f"'{text}' is a module; say which function: {text}:function")
        return cls(module=place, function=function)

    def with_path(self, path: Path | str) -> Entry:
        """The same, of the file at another place."""
        return replace(self, path=str(path))

    @property
    def text(self) -> str:
        """As a recipe has it."""
        place = self.path if self.path is not None else str(self.module)
        return place if self.function is None else f"{place}:{self.function}"

    @property
    def shown(self) -> str:
        """For messages: `tools.py`, `tools.py search`."""
        place = Path(self.path).name if self.path is not None else str(self.module)
        return place if self.function is None else f"{place} {self.function}"
