"""The tables `rlvr report` prints."""

from __future__ import annotations

from typing import Any, TextIO

from rlvr_cli.tracking import plots
from rlvr_cli.tracking.report.gather import Run, differences, phases
from rlvr_cli.tracking.text import clock, number, one_line

MAIN = {
    "rl": ("reward/mean", "reward/correct_fraction", "reward/score", "actor/entropy", "response_length/mean"),
    "sft": ("train/loss", "train/token_accuracy"),
    "eval": (),
}
SHOWN = 12
"""Differing keys that are listed; the page has all."""
LOUD = ("warning", "error", "diagnosis", "action", "restart", "rollback")


def print_summary(terminal: TextIO, runs: list[Run], written: list[str]) -> None:
    from rich.console import Console

    # Widths as for `rlvr eval`; no markup, since names and values of a run may hold brackets.
    console = Console(
        file=terminal, width=None if terminal.isatty() else 120, markup=False, highlight=False, emoji=False
    )
    _ends(console, runs)
    for run in runs:
        loud = [event for event in run.events if event.get("kind") in LOUD]
        for event in _last(loud):
            said = f"{run.name}, step {event['step']}, {event['kind']}: {event.get('message', '')}"
            console.print(one_line(said), soft_wrap=True)
        if len(loud) > 3:
            console.print(one_line(f"{run.name}: {len(loud) - 3} more on the page"))
    _differences(console, runs)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


def _ends(console: Any, runs: list[Run]) -> None:
    """One table, or where it does not fit (columns would be cut) one below the name of each run."""
    narrow = console.width < 100
    titles = ("metric", "first", "last")
    table = _table("run", "state", "steps", "time", *titles)
    for run in runs:
        time = clock(sum(phases(run.rows).values()))
        head = [one_line(run.name), f"{run.kind}, {run.state}", f"{run.last_step:,}", time]
        lines = _progress(run) or [["-", "-", "-"]]
        if narrow:
            table = _table(*titles)
            table.columns[0].no_wrap = True
            console.print(f"{head[0]}: {head[1]}, {head[2]} steps, {head[3]}", soft_wrap=True)
        for line in lines:
            table.add_row(*([] if narrow else head), *line)
            head = [""] * 4
        if narrow:
            console.print(table)
    if not narrow:
        console.print(table)


def _last(loud: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last three in order; warnings, which repeat each step, only where nothing else takes the place."""
    ranked = sorted(range(len(loud)), key=lambda index: (loud[index]["kind"] != "warning", index))
    return [loud[index] for index in sorted(ranked[-3:])]


def _progress(run: Run) -> list[list[str]]:
    """[metric, first, last]: means over the first and last tenth of the steps; of a benchmark both ends."""
    found = []
    for name in MAIN[run.kind]:
        values = [row[name] for row in run.rows if row.get(name) is not None]
        tenth = max(len(values) // 10, 1)
        if values:
            ends = (values[:tenth], values[-tenth:])
            found.append([name, *(number(sum(end) / len(end)) for end in ends)])
    for name in plots.benches(run.rows).values():
        rows = [row for row in run.rows if row.get(name) is not None]
        if rows:
            found.append([name, *(_interval(row, name) for row in (rows[0], rows[-1]))])
    return found


def _interval(row: dict[str, Any], name: str) -> str:
    low, high = (row.get(f"{name.rpartition('/')[0]}/ci95_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" [{low:.1%}, {high:.1%}]"
    return f"{row[name]:.1%}{interval}"


def _differences(console: Any, runs: list[Run]) -> None:
    differing = differences(runs)
    if not differing:
        return
    table = _table("differs", *(one_line(run.name) for run in runs))
    for key, values in list(differing.items())[:SHOWN]:
        table.add_row(one_line(key), *(one_line("-" if value is None else str(value)) for value in values))
    console.print(table)
    if len(differing) > SHOWN:
        console.print(f"{len(differing) - SHOWN} more differing keys on the page")


def _table(*titles: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
