"""The processes of a server that a run has started."""

from __future__ import annotations

from pathlib import Path

import psutil


def child_of(pid: int) -> int:
    """The API server, whose parent is the guardian."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def descendants(pid: int) -> list[int]:
    return [each.pid for each in psutil.Process(pid).children(recursive=True)]
