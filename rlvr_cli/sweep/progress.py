"""What the terminal shows of a sweep: a line when a run starts and ends, and one for each that is running."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from rlvr_cli.core.errors import told

TAIL = 1 << 17
"""Bytes of a metrics.jsonl that are read for its newest rows."""
SAY_S = 60.0
"""Between two lines on the running ones where nothing can be drawn over."""
DRAW_S = 1.0
MAIN = {"reward/mean": "reward", "train/loss": "loss"}


class Board:
    """Lines for good go up; on a terminal those of the running ones are drawn again below them."""

    def __init__(self, terminal: TextIO, total: int) -> None:
        self._terminal, self._live = terminal, terminal.isatty()
        self._total, self._drawn = total, 0
        self._last = time.monotonic()

    def say(self, what: str, text: str) -> None:
        self._clear()
        self._write(f"{time.strftime('%H:%M:%S')}  {what:<8}  {told(text)}")

    def running(self, lines: Sequence[str]) -> None:
        """Show the running ones, where it is time for that."""
        now = time.monotonic()
        if now - self._last < (DRAW_S if self._live else SAY_S):
            return
        self._last = now
        if not self._live:
            for line in lines:
                self.say("running", line)
            return
        self._clear()
        for line in lines:
            self._write(f"  {told(line)}"[: _width()])
        self._drawn = len(lines)

    def _clear(self) -> None:
        if self._drawn:
            self._terminal.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, line: str) -> None:
        self._terminal.write(f"{line}\n")
        self._terminal.flush()


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 1


def clock(seconds: float) -> str:
    """h:mm:ss"""
    return str(timedelta(seconds=round(seconds)))


def progress(out: Path, steps: int, seconds: float) -> str:
    """`12/40 steps  reward 0.31  0:00:42`"""
    rows = [row for row in newest(out / "metrics.jsonl") if row.get("event") != "eval"]
    done = rows[-1]["step"] if rows else 0
    shown = [f"{name} {rows[-1][key]:.3g}" for key, name in MAIN.items() if rows and _known(rows[-1], key)]
    return "  ".join([f"{done}/{steps} steps", *shown, clock(seconds)])


def result(out: Path) -> str:
    """`reward 0.11 -> 0.42  addition 25.0% -> 61.2%`: means over the first and last tenth of the steps,
    and both ends of a bench; one number where there is only one."""
    path = out / "metrics.jsonl"
    rows = _rows(path.read_bytes()) if path.is_file() else []
    parts = []
    for key, name in MAIN.items():
        values = [row[key] for row in rows if row.get("event") != "eval" and _known(row, key)]
        tenth = max(len(values) // 10, 1)
        if values:
            first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
            parts.append(f"{name} {first:.3g}" + (f" -> {last:.3g}" if len(values) > 1 else ""))
    benches: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if key.startswith(f"eval/{row.get('bench')}/avg@") and value is not None:
                benches.setdefault(row["bench"], []).append(value)
    for bench, found in benches.items():
        parts.append(f"{bench} {found[0]:.1%}" + (f" -> {found[-1]:.1%}" if len(found) > 1 else ""))
    return "  ".join(parts)


def newest(path: Path) -> list[dict[str, Any]]:
    """The last whole rows of a JSONL file that is being written."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - TAIL, 0))
        tail = file.read()
    return _rows(tail if size <= TAIL else tail.partition(b"\n")[2])


def _rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.split(b"\n")[:-1] if line.strip()]


def _known(row: dict[str, Any], key: str) -> bool:
    return isinstance(row.get(key), int | float)
