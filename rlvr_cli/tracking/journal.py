"""JSONL files that are appended one whole line at a time."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from rlvr_cli.core.files import encodable, from_json, write_atomically


def jsonable(value: Any) -> Any:
    """`value` with non-finite floats as None (NaN and Infinity are not JSON) and enums as their values."""
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def to_line(row: dict[str, Any]) -> str:
    return encodable(json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False, default=str)) + "\n"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; what follows the last newline was torn by a kill and is left out.

    ValueError where a line is no JSON.
    """
    if not path.exists():
        return []
    # Split at the newline byte only: str.splitlines would also split at U+2028 inside a string.
    return [from_json(line) for line in path.read_bytes().split(b"\n")[:-1] if line.strip()]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a `metrics.jsonl` (or of the one in a run directory), in the order they were written.

    Rows of evaluations have "event": "eval"; the others are steps.
    """
    return read_rows(path / "metrics.jsonl" if path.is_dir() else path)


class Journal:
    """An append-only JSONL file whose rows carry a "step"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def append(self, row: dict[str, Any]) -> None:
        if self._file is None:
            self._mend()
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (open until close())
        # One write and one flush a line: a kill tears at most the last line.
        self._file.write(to_line(row))
        self._file.flush()

    def _mend(self) -> None:
        """Cut a torn last line off; a row appended to it would be lost with it."""
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            write_atomically(self.path, content[:whole])

    def drop_after(self, step: int) -> list[dict[str, Any]]:
        """Remove the rows past `step`; returns those that stay."""
        self.close()
        kept = [row for row in read_rows(self.path) if row["step"] <= step]
        if self.path.exists():
            write_atomically(self.path, "".join(map(to_line, kept)))
        return kept

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
