"""What a plain terminal shows: one line per step (`live.py` has the live view, `view.py` the choice).

Everything goes to the stream given, never to sys.stdout: a process's own output is its log file.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from rlvr_cli.tracking.text import clock, one_line

STYLES = {
    "error": "bold red",
    "warning": "yellow",
    "diagnosis": "yellow",
    "action": "magenta",
    "checkpoint": "green",
    "resume": "green",
    "restart": "yellow",
    "eval": "cyan",
    "wandb": "dim",
}
"""Colour of an event by its kind."""

SAY_S = 5.0
"""Least time between two lines on how far something has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One completion to show."""

    prompt: str
    response: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Column:
    """A metric on the plain line: `before` and `after` surround the number."""

    metric: str
    before: str
    form: str
    after: str = ""

    def show(self, value: float) -> str:
        return f"{self.before}{self.form.format(value)}{self.after}"


_SPEED = (
    Column("perf/tokens_per_second", "", "{:7,.0f}", " tok/s"),
    Column("timing_s/step", "", "{:6.2f}", " s"),
)
COLUMNS = {
    "rl": (
        Column("reward/mean", "reward ", "{:5.2f}"),
        Column("reward/correct_fraction", "correct ", "{:4.2f}"),
        Column("reward/score", "score ", "{:4.2f}"),
        Column("actor/entropy", "entropy ", "{:5.2f}"),
        Column("actor/grad_norm", "grad ", "{:6.2f}"),
        Column("response_length/mean", "len ", "{:7.1f}"),
        *_SPEED,
    ),
    "sft": (
        Column("train/loss", "loss ", "{:7.4f}"),
        Column("train/token_accuracy", "accuracy ", "{:5.3f}"),
        Column("train/grad_norm", "grad ", "{:6.2f}"),
        Column("eval/loss", "eval loss ", "{:7.4f}"),
        *_SPEED,
    ),
    "preference": (
        Column("train/loss", "loss ", "{:7.4f}"),
        Column("rewards/accuracies", "accuracy ", "{:5.3f}"),
        Column("rewards/margins", "margin ", "{:6.3f}"),
        Column("logps/chosen", "chosen ", "{:8.2f}"),
        Column("train/grad_norm", "grad ", "{:6.2f}"),
        Column("eval/accuracy", "eval accuracy ", "{:5.3f}"),
        *_SPEED,
    ),
    "eval": _SPEED,
    "experience": (
        Column("reward/correct_fraction", "correct ", "{:4.2f}"),
        Column("experience/kept", "kept ", "{:3.0f}", " problems"),
        Column("experience/size", "library ", "{:3.0f}"),
        Column("experience/calls", "", "{:6,.0f}", " calls"),
        Column("experience/tokens", "", "{:9,.0f}", " tokens"),
        Column("timing_s/step", "", "{:6.2f}", " s"),
    ),
}


class Pace:
    """Steps done and the time the others need, at the mean speed of the last few."""

    def __init__(self, total: int, start: int, now: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done = total, start
        self._now = now
        self._started = now()
        self._times = deque([self._started], maxlen=21)

    def step(self, step: int) -> None:
        self.done = step
        self._times.append(self._now())

    @property
    def elapsed(self) -> float:
        return self._now() - self._started

    @property
    def left(self) -> float:
        """Seconds to go; NaN before the first step."""
        if len(self._times) < 2:
            return math.nan
        mean = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return max(self.total - self.done, 0) * mean


class PlainView:
    """One line for each step and each event: for log files, pipes and plain terminals."""

    def __init__(self, terminal: TextIO, *, kind: str, total_steps: int, start_step: int, title: str) -> None:
        from rich.console import Console

        # No markup and no highlighting: "[0.41, 0.52]" and a prompt's "[/b]" are text.
        self.console = Console(file=terminal, highlight=False, markup=False, emoji=False)
        self.terminal = terminal
        self.kind, self.title = kind, title
        self.pace = Pace(total_steps, start_step)
        self._counted: tuple[str, Pace] | None = None
        self._said = 0.0

    def line(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, soft_wrap=True)
        self.terminal.flush()

    def header(self, lines: dict[str, str]) -> None:
        for key, value in lines.items():
            self.line(f"{key}: {one_line(value)}")

    def table(self, title: str, lines: dict[str, str]) -> None:
        width = max(map(len, lines))
        self.line(title)
        for key, value in lines.items():
            self.line(f"  {key:<{width}}  {one_line(value)}")

    def restore(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Go on from `step` of a run with these metrics."""
        self.pace.done = step

    def step(self, step: int, metrics: dict[str, float], sample: Sample | None) -> None:
        self.pace.step(step)
        width = len(str(self.pace.total))
        shown = [column.show(metrics[column.metric]) for column in self.columns if column.metric in metrics]
        self.line("  ".join([f"step {step:>{width}}/{self.pace.total}", *shown]))

    @property
    def columns(self) -> tuple[Column, ...]:
        return COLUMNS[self.kind]

    def event(self, kind: str, message: str) -> None:
        self.line(f"{time.strftime('%H:%M:%S')}  {kind}  {one_line(message)}", STYLES.get(kind, ""))

    def evaluation(self, metrics: dict[str, float], text: str) -> None:
        self.event("eval", text)

    def phase(self, name: str) -> None:
        """A plain log says nothing about phases."""

    def progress(self, name: str, done: int, total: int) -> None:
        """Say how far something long has come: at every tenth of it, but not every moment, and at its end."""
        if self._counted is None or self._counted[0] != name:
            self._counted, self._said = (name, Pace(total, 0)), time.monotonic()
        pace, now = self._counted[1], time.monotonic()
        pace.done = done
        tenth = done * 10 // total > (done - 1) * 10 // total
        if done < total and (not tenth or now - self._said < SAY_S):
            return
        self._said = now
        left = pace.elapsed / done * (total - done)
        self.event(name, f"{done}/{total}" + (f", {clock(left)} left" if done < total else ""))

    def close(self) -> None:
        self.terminal.flush()
