"""TensorBoard: the same metrics under the same names, in event files of the run directory.

The files are made from metrics.jsonl: the first record after a start writes all rows anew, so that a run that
goes on from an earlier step, or begins to keep them later, has neither doubles nor gaps.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlvr_cli.tracking.journal import read_rows

FOLDER = "tensorboard"
HEAD = ("step", "time", "event", "bench", "nonfinite")
"""Of a row what is no metric."""


class TensorBoard:
    """Event files whose failures are reported once and never stop the training."""

    def __init__(self, out: Path, report: Callable[[str], None]) -> None:
        self._folder, self._rows = out / FOLDER, out / "metrics.jsonl"
        self._report = report
        self._writer: Any = None
        self._failed = False

    def log(self, row: dict[str, Any]) -> None:
        """Record a row that metrics.jsonl has already."""
        if self._writer is None:
            self._guard(self._begin)
        else:
            self._guard(lambda: self._add(row))

    def forget(self) -> None:
        """metrics.jsonl has lost rows: what was written of them goes, and all others are written again."""
        self._guard(self._end)

    def close(self) -> None:
        if self._writer is None:
            self._guard(self._begin)  # nothing was recorded since `forget`
        self._guard(self._end)

    def _begin(self) -> None:
        # The proto classes of tensorboard itself: torch's SummaryWriter would write a record for each number.
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._folder.is_dir():
            shutil.rmtree(self._folder)
        rows = read_rows(self._rows)
        if rows:
            self._writer = EventFileWriter(str(self._folder))
        for row in rows:
            self._write(row)
        self._flush()

    def _add(self, row: dict[str, Any]) -> None:
        self._write(row)
        self._flush()

    def _write(self, row: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        lost = row.get("nonfinite", ())
        values = {name: value for name, value in row.items() if name not in HEAD and value is not None}
        values |= dict.fromkeys(lost, math.nan)
        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(step=row["step"], wall_time=row["time"], summary=Summary(value=found)))

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()  # a kill must not lose a step that metrics.jsonl has

    def _end(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _guard(self, act: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:  # a full disk, say; metrics.jsonl has everything
            self._failed, self._writer = True, None
            self._report(f"TensorBoard stopped ({' '.join(str(error).split())}); metrics.jsonl goes on")
