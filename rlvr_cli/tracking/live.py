"""The live view: progress, metrics with sparklines, where the time goes, and one sample."""

from __future__ import annotations

import atexit
import math
import os
import time
from collections import deque
from typing import Any, TextIO

from rich import box
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlvr_cli.tracking.console import PlainView, Sample
from rlvr_cli.tracking.text import clock, excerpt, number, one_line, printable, sparkline

ROWS = (
    ("reward", "reward/mean"),
    ("correct", "reward/correct_fraction"),
    ("score", "reward/score"),
    ("crashed", "reward/crash_fraction"),
    ("timed out", "reward/timeout_fraction"),
    ("loss", "train/loss"),
    ("accuracy", "train/token_accuracy"),
    ("eval loss", "eval/loss"),
    ("eval accuracy", "eval/token_accuracy"),
    ("accuracy", "rewards/accuracies"),
    ("eval accuracy", "eval/accuracy"),
    ("margin", "rewards/margins"),
    ("logp chosen", "logps/chosen"),
    ("entropy", "actor/entropy"),
    ("grad norm", "actor/grad_norm"),
    ("grad norm", "train/grad_norm"),
    ("length", "response_length/mean"),
    ("truncated", "response_length/truncated_fraction"),
    ("zero signal", "group/zero_signal_fraction"),
    ("KL to ref", "actor/ref_kl"),
    ("KL to old", "actor/ppo_kl"),
    ("clipped high", "actor/clip_ratio_high"),
    ("mismatch k3", "mismatch/k3"),
    ("lr", "actor/lr"),
    ("lr", "train/lr"),
    ("tokens/s", "perf/tokens_per_second"),
    ("memory GB", "perf/peak_memory_gb"),
)
"""(label, metric), most important first; a run shows those it has and its window has room for."""
PHASE_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
REFRESH_S = 0.2
"""Shortest time between two redraws caused by phases; a step always redraws."""


class LiveView(PlainView):
    """A view redrawn in place; events scroll by above it."""

    def __init__(self, terminal: TextIO, *, kind: str, total_steps: int, start_step: int, title: str) -> None:
        super().__init__(terminal, kind=kind, total_steps=total_steps, start_step=start_step, title=title)
        self._history: dict[str, deque[float]] = {}
        self._evals: dict[str, str] = {}
        self._timing: dict[str, float] = {}
        self._sample: tuple[int, Sample] | None = None
        self._phase = ""
        self._drawn = 0.0
        # No refresh thread: it would compete with the training for the interpreter.
        self._live = Live(
            console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._closed = False
        atexit.register(self.close)  # a cursor left hidden outlives the process

    def header(self, lines: dict[str, str]) -> None:
        self.table("", lines)

    def table(self, title: str, lines: dict[str, str]) -> None:
        self._fit()
        table = Table(
            box=box.ROUNDED,
            show_header=False,
            border_style="dim",
            padding=(0, 1),
            title=title or None,
            title_justify="left",
        )
        table.add_column(style="bold cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in lines.items():
            table.add_row(Text(key), Text(one_line(value)))
        self.console.print(table)

    def restore(self, step: int, rows: list[dict[str, Any]]) -> None:
        super().restore(step, rows)
        for row in rows:
            self._remember({name: value for name, value in row.items() if isinstance(value, float)})

    def step(self, step: int, metrics: dict[str, float], sample: Sample | None) -> None:
        self.pace.step(step)
        self._remember(metrics)
        prefix = "timing_s/"
        times = {name.removeprefix(prefix): v for name, v in metrics.items() if name.startswith(prefix)}
        self._timing = times or self._timing
        if sample is not None:
            self._sample = (step, sample)
        self._draw()

    def evaluation(self, metrics: dict[str, float], text: str) -> None:
        super().evaluation(metrics, text)
        self._remember(metrics)
        if self._live.is_started:
            self._draw()

    def phase(self, name: str) -> None:
        self._phase = name
        if time.monotonic() - self._drawn >= REFRESH_S:
            self._draw()

    def progress(self, name: str, done: int, total: int) -> None:
        if self.kind == "eval":  # problems are its steps
            self.pace.total = total
            self.pace.step(done)
        self.phase(f"{name} {done}/{total}")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._live.stop()
            super().close()

    def _remember(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._history.setdefault(name, deque(maxlen=500)).append(value)
            bench, average, _ = name.removeprefix("eval/").partition("/avg@")
            if average:
                self._evals[bench] = name

    def _fit(self) -> None:
        # rich asks stdin, stdout and stderr for the size; here these are log files.
        if self.terminal.isatty():
            columns, lines = os.get_terminal_size(self.terminal.fileno())
            self.console.size = ConsoleDimensions(columns or 80, lines or 24)  # some report 0x0

    def _draw(self) -> None:
        if self._closed:
            return
        self._fit()
        self._drawn = time.monotonic()
        self._live.update(self.render())
        if not self._live.is_started:
            self._live.start()
        self._live.refresh()
        self.terminal.flush()

    def render(self) -> RenderableType:
        """The whole view for the console's present size."""
        width, height = self.console.size
        metrics = self._metric_rows()[: max(height - 8, 3)]
        boxes = Table.grid(expand=True, padding=0)
        boxes.add_column(ratio=1)
        boxes.add_column(ratio=1)
        spark = max(width // 2 - 4 - 13 - 2 - 9, 4)
        boxes.add_row(self._metrics_panel(metrics, spark), self._time_panel(width // 2 - 4, len(metrics) + 2))
        parts: list[RenderableType] = [self._progress(), boxes]
        room = height - len(metrics) - 4
        if self._sample is not None and room >= 4:
            parts.append(self._sample_panel(*self._sample, width - 4, min(room - 2, 12)))
        return Group(*parts)

    def _metric_rows(self) -> list[tuple[str, deque[float]]]:
        names = list(ROWS)
        # Evaluations stand third, after what the training measures of itself.
        names[2:2] = [(f"eval {bench}", name) for bench, name in self._evals.items()]
        return [(label, self._history[name]) for label, name in names if name in self._history]

    def _progress(self) -> RenderableType:
        pace = self.pace
        left = "" if math.isnan(pace.left) else f"  {clock(pace.left)} left"
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_row(
            Text(self.title, style="bold"),
            ProgressBar(total=max(pace.total, 1), completed=pace.done),
            Text(f"{pace.done}/{pace.total}  {clock(pace.elapsed)}{left}"),
        )
        return grid

    def _metrics_panel(self, rows: list[tuple[str, deque[float]]], spark: int) -> Panel:
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(width=13, no_wrap=True, overflow="ellipsis", style="bold")
        table.add_column(width=8, no_wrap=True, justify="right")
        table.add_column(ratio=1, no_wrap=True, style="cyan")
        for label, history in rows:
            style = "" if math.isfinite(history[-1]) else "bold red"
            table.add_row(label, Text(number(history[-1]), style), sparkline(list(history), spark))
        return Panel(table, title="metrics", title_align="left", border_style="dim", padding=(0, 1))

    def _time_panel(self, inner: int, height: int) -> Panel:
        times = dict(self._timing)
        step = times.pop("step", sum(times.values()))
        times["other"] = max(step - sum(times.values()), 0.0)
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(width=10, no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=1, no_wrap=True)
        table.add_column(width=14, no_wrap=True, justify="right")
        bar = max(inner - 10 - 14 - 2, 1)
        for index, (phase, seconds) in enumerate(times.items()):
            share = seconds / step if step > 0 else 0.0
            colour = "dim" if phase == "other" else PHASE_COLOURS[index % len(PHASE_COLOURS)]
            style = "bold" if phase == self._phase else ""
            figures = f"{number(seconds)} s {share:4.0%}"
            table.add_row(Text(phase, style), Text("█" * round(share * bar), colour), figures)
        now = f" · now {self._phase}" if self._phase else ""
        title = f"step {number(step)} s{now}"
        return Panel(
            table, title=title, title_align="left", border_style="dim", padding=(0, 1), height=height
        )

    def _sample_panel(self, step: int, sample: Sample, inner: int, lines: int) -> Panel:
        prompt = excerpt(sample.prompt, inner, max(lines // 3, 1), self.console)
        response = excerpt(sample.response, inner, lines - len(prompt), self.console)
        for line in prompt:
            line.stylize("dim")
        style = "green" if sample.reason == "correct" else "yellow"
        title = Text.assemble(
            f"sample of step {step} · score {number(sample.score)} · ", (printable(sample.reason), style)
        )
        return Panel(
            Group(*prompt, *response), title=title, title_align="left", border_style="dim", padding=(0, 1)
        )
