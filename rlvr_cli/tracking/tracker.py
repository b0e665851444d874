"""The one object through which a loop reports; rank 0 owns it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from rlvr_cli.core.unused_keys import usage
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.tracking import plots, wandb_run
from rlvr_cli.tracking.console import Sample
from rlvr_cli.tracking.journal import Journal, read_rows
from rlvr_cli.tracking.records import drop_records_after
from rlvr_cli.tracking.tensorboard import TensorBoard
from rlvr_cli.tracking.view import open_view

Kind = Literal["rl", "sft", "preference", "eval", "experience"]


class Tracker:
    """Sends a run's metrics and events to metrics.jsonl, events.jsonl, W&B and the terminal.

    A context manager: leaving it, also by an exception or Ctrl-C, restores the terminal.
    """

    def __init__(
        self,
        settings: Settings,
        out: Path,
        *,
        terminal: TextIO,
        total_steps: int,
        start_step: int = 0,
        run_name: str,
        recipe: dict[str, Any],
        kind: Kind,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        self._step = start_step
        self._closed = False
        self._metrics = Journal(out / "metrics.jsonl")
        self._events = Journal(out / "events.jsonl")
        self._gradients = Journal(out / "gradients.jsonl")
        self._disputed = Journal(out / "disputed.jsonl")
        self._view = open_view(
            settings.console,
            terminal,
            kind=kind,
            total_steps=total_steps,
            start_step=start_step,
            title=run_name,
        )
        self._wandb = wandb_run.start(
            settings,
            out,
            name=run_name,
            config=recipe,
            kind=kind,
            report=lambda message: self.event("wandb", message),
        )
        self._tensorboard = (
            TensorBoard(out, lambda message: self.event("tensorboard", message))
            if settings.tensorboard
            else None
        )

    def header(self, lines: dict[str, str]) -> None:
        """Show what runs: model, algorithm, derived numbers, run directory."""
        self._view.header(lines)

    def table(self, title: str, lines: dict[str, str]) -> None:
        """Show what was measured once."""
        self._view.table(title, lines)

    def phase(self, name: str) -> None:
        """Show what the run is doing now; made for `Timer(on_phase=tracker.phase)`."""
        self._view.phase(name)

    def progress(self, name: str) -> Callable[[int, int], None]:
        """A function to tell how far (done, total) an evaluation has come."""
        return partial(self._view.progress, name)

    def step(self, step: int, metrics: dict[str, float], sample: Sample | None = None) -> None:
        """Record a finished step."""
        self._step = step
        values = {name: float(value) for name, value in metrics.items()}
        self._record({"step": step}, values)
        self._view.step(step, values, sample)
        usage.keep()

    def evaluation(
        self, step: int, bench: str | None, summary: dict[str, float], timing: dict[str, float] | None = None
    ) -> None:
        """Record an evaluation as `eval/<bench>/<name>` (`eval/<name>` without a bench)."""
        self._step = step
        prefix = f"eval/{bench}/" if bench else "eval/"
        values = {prefix + name: float(value) for name, value in (summary | (timing or {})).items()}
        self._record({"step": step, "event": "eval", "bench": bench}, values)
        when = "" if self._view.kind == "eval" else f"step {step}  "  # rlvr eval has no steps
        self._view.evaluation(values, when + _evaluation_text(bench, summary))

    def event(self, kind: str, message: str, **fields: Any) -> None:
        """Record and show something that happened: a checkpoint, a warning, an error, ..."""
        self._record_event(kind, message, **fields)
        self._view.event(kind, message)

    def _record_event(self, kind: str, message: str, **fields: Any) -> None:
        row = {"step": self._step, "time": round(time.time(), 3), "kind": kind, "message": message}
        self._events.append(row | fields)

    def gradient(self, step: int, row: dict[str, Any]) -> None:
        """Record a token behind a spike of the gradient."""
        self._gradients.append({"step": step} | row)

    def disputed(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Record verdicts that two ways of comparing disagree on, for somebody to look at."""
        for row in rows:
            self._disputed.append({"step": step} | row)

    def resume_at(self, step: int | None) -> None:
        """Drop what was recorded past the checkpoint of `step`: those steps are done again.

        None: there is no checkpoint, and everything is. The launcher's failures stay in the record.
        """
        reached = step or 0
        self._view.restore(reached, self._metrics.drop_after(-1 if step is None else step))
        if self._tensorboard is not None:
            self._tensorboard.forget()
        self._events.drop_after(reached)
        self._gradients.drop_after(reached)
        self._disputed.drop_after(reached)
        drop_records_after(self._out / "rollouts", reached)
        self._step = reached
        self._recall_failures()

    def _recall_failures(self) -> None:
        """An event for each row of restarts.jsonl that has none: it is new, or its event was dropped."""
        known = {row.get("failed") for row in read_rows(self._out / "events.jsonl")}
        for row in read_rows(self._out / "restarts.jsonl"):
            if row["time"] not in known:
                said = f"rank {row['rank']} failed after checkpoint {row['checkpoint']}: {row['cause']}"
                fields = {key: row[key] for key in ("rank", "cause", "where", "code", "restart")}
                self.event("restart", f"{said} ({row['where']})", failed=row["time"], **fields)

    def close(self, status: str) -> None:
        """End the run as `status`; later calls do nothing.

        "finished", "interrupted", "failed", or of a preflight, which reads few keys, "checked".
        """
        if self._closed:
            return
        if status == "finished" and (keys := usage.unused()):
            self.event("warning", f"set, but read by nothing in this run: {', '.join(keys)}", keys=keys)
        self._closed = True
        try:
            drawn = plots.curves(self._out)
            if drawn is not None and status == "finished":
                self._view.event("next", f"curves: {drawn}; all of it on a page: rlvr report {self._out}")
        finally:
            self._view.close()
        if self._wandb is not None:
            self._wandb.summary({"status": status})
            self._wandb.finish(failed=status == "failed")
        self._metrics.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        self._events.close()
        self._gradients.close()
        self._disputed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close("finished")
        else:
            with suppress(OSError):  # of a full disk, say: `error` is what the user is to hear of
                if isinstance(error, Exception) and not self._closed:  # the launcher shows it
                    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    self._record_event("error", said)
                self.close("interrupted" if issubclass(kind, KeyboardInterrupt | SystemExit) else "failed")

    def _record(self, head: dict[str, Any], values: dict[str, float]) -> None:
        nonfinite = [name for name, value in values.items() if not math.isfinite(value)]
        tail = {"nonfinite": nonfinite} if nonfinite else {}
        row = {**head, "time": round(time.time(), 3), **values, **tail}
        self._metrics.append(row)
        if self._tensorboard is not None:
            self._tensorboard.log(row)
        if self._wandb is not None:
            self._wandb.log(values, head["step"])


def _evaluation_text(bench: str | None, summary: dict[str, float]) -> str:
    """`addition  avg@4 0.531 [0.492, 0.570]  pass@4 0.710`: the interval belongs to the first number.

    Counts, and shares that are 0, are left to the files, and pass@j for all j but the largest.
    """
    low, high = summary.get("ci95_low"), summary.get("ci95_high")
    hidden = {"problems", "left_out", "no_gold", "response_length"} | smaller(summary)
    shown = [
        f"{name} {value:.3f}"
        for name, value in summary.items()
        if name not in hidden
        and not (name == "score" and value == next(iter(summary.values())))
        and not name.startswith(("ci95_", "sampling95_", "gpass@", "mgpass@"))
        and (value or not name.endswith("_fraction"))
    ]
    if shown and low is not None and high is not None:
        shown[0] += f" [{low:.3f}, {high:.3f}]"
    if "crash_fraction" in summary and "score" not in summary and "probes" not in summary:
        shown.insert(0, "no score: more than half of the samples have no verdict")
    return "  ".join([bench, *shown] if bench else shown)


def smaller(summary: dict[str, float]) -> set[str]:
    """Metrics `name@j` for which there is a `name@i` with i above j."""
    sizes = {key: key.partition("@") for key in summary if re.fullmatch(r"\w+@\d+", key)}
    largest: dict[str, int] = {}
    for name, _, size in sizes.values():
        largest[name] = max(int(size), largest.get(name, 0))
    return {key for key, (name, _, size) in sizes.items() if int(size) < largest[name]}
