"""`sweep.json`: what a sweep is, which runs it has, and how far each has come."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json, write_atomically
from rlvr_cli.core.sweep_files import INDEX


@dataclass(slots=True, kw_only=True)
class Entry:
    """A run of a sweep."""

    name: str
    """Of its folder."""
    overrides: list[str]
    """What it has for itself: `trainer.lr=1e-06`, `seed=0`."""
    values: dict[str, Any]
    """The same, typed."""
    state: str = "not begun"
    """not begun, running, stopped, finished, failed"""
    seconds: float = 0.0
    """Of all its starts by a sweep on this machine."""
    cause: str | None = None
    """Why it failed."""
    in_grid: bool = True
    """False: a run of an earlier grid of the sweep."""


@dataclass(slots=True, kw_only=True)
class Index:
    recipe: str
    overrides: list[str]
    """Of all runs."""
    runs: list[Entry] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    """Array jobs that were submitted, by their number."""

    def write(self, folder: Path) -> None:
        write_atomically(folder / INDEX, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> Index | None:
    """None: there is none. UserError where it is damaged."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        found = from_json(path.read_bytes())
        known = {each.name for each in fields(Entry)}
        runs = [Entry(**{k: v for k, v in row.items() if k in known}) for row in found["runs"]]
        return Index(
            recipe=found["recipe"],
            overrides=list(found["overrides"]),
            runs=runs,
            jobs=list(found.get("jobs", [])),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}; mend it, or set out= for a new sweep") from error
