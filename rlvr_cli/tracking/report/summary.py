"""The tables `rlvr report` prints: of one run its ends, of several a row for each, of groups their means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from rlvr_cli.core.short_names import short_keys, text_of
from rlvr_cli.tracking import plots
from rlvr_cli.tracking.report import experiences
from rlvr_cli.tracking.report.fitted import fitted, plain_table
from rlvr_cli.tracking.report.gather import Run, differences, phases
from rlvr_cli.tracking.report.group_summary import print_groups
from rlvr_cli.tracking.report.groups import Group
from rlvr_cli.tracking.report.measures import Measure
from rlvr_cli.tracking.text import clock, number, one_line

MAIN = {
    "rl": ("reward/mean", "reward/correct_fraction", "reward/score", "actor/entropy", "response_length/mean"),
    "sft": ("train/loss", "train/token_accuracy"),
    "preference": ("train/loss", "rewards/accuracies", "rewards/margins", "logps/chosen"),
    "eval": (),
    "experience": ("reward/correct_fraction", "experience/size", "experience/calls", "experience/tokens"),
}
TITLES = {
    "reward/mean": "reward",
    "reward/correct_fraction": "correct",
    "reward/score": "score",
    "actor/entropy": "entropy",
    "response_length/mean": "tokens",
    "train/loss": "loss",
    "train/token_accuracy": "accuracy",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "logps/chosen": "logp chosen",
    "experience/size": "library",
    "experience/calls": "calls",
    "experience/tokens": "tokens",
}
LOUD = ("warning", "error", "diagnosis", "action", "restart", "rollback")
LONGEST = 30
"""Characters of a value in a table."""


def print_summary(
    terminal: TextIO,
    runs: list[Run],
    written: list[str],
    groups: list[Group] | None = None,
    measures: Sequence[Measure] = (),
    notes: Sequence[str] = (),
    control: int | None = None,
) -> None:
    from rich.console import Console

    # Widths as for `rlvr eval`; no markup, since names and values of a run may hold brackets.
    console = Console(
        file=terminal, width=None if terminal.isatty() else 120, markup=False, highlight=False, emoji=False
    )
    if groups is not None:
        print_groups(console, groups, measures, control)
    elif len(runs) == 1:
        _ends(console, runs[0])
        for line in [] if runs[0].library is None else experiences.lines(runs[0].library):
            console.print(line, soft_wrap=True)
    else:
        _several(console, runs)
        _differences(console, runs)
    for note in notes:
        console.print(one_line(note), soft_wrap=True)
    _events(console, runs)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


def _ends(console: Any, run: Run) -> None:
    """The metrics of one run, a row each."""
    narrow = console.width < 100
    titles = ("metric", "first", "last")
    head = [one_line(run.name), f"{run.kind}, {run.state}", f"{run.last_step:,}"]
    head.append(clock(sum(phases(run.rows).values())))
    table = plain_table(*(titles if narrow else ("run", "state", "steps", "time", *titles)))
    if narrow:
        table.columns[0].no_wrap = True
        console.print(f"{head[0]}: {head[1]}, {head[2]} steps, {head[3]}", soft_wrap=True)
    for line in _progress(run) or [["-", "-", "-"]]:
        table.add_row(*([] if narrow else head), *line)
        head = [""] * 4
    console.print(table)


def _several(console: Any, runs: list[Run]) -> None:
    """A row for each run: as many columns as fit, the others are named below."""
    names = dict.fromkeys(name for run in runs for name in MAIN[run.kind])
    benches = dict.fromkeys(name for run in runs for name in plots.benches(run.rows).values())
    columns: list[tuple[str, list[str]]] = [
        ("run", [one_line(run.name) for run in runs]),
        ("state", [run.state for run in runs]),
        ("steps", [f"{run.last_step:,}" for run in runs]),
    ]
    columns += [(name.split("/")[1], [_last_of(run, name) for run in runs]) for name in benches]
    present = {name for run in runs for row in run.rows for name in row}
    columns += [(TITLES[name], [_both_ends(run, name) for run in runs]) for name in names if name in present]
    columns.append(("time", [clock(sum(phases(run.rows).values())) for run in runs]))
    table, left = fitted(columns, console.width, kept=4)
    console.print(table)
    if left:
        console.print(f"on the page too: {', '.join(left)}", soft_wrap=True)


def _events(console: Any, runs: list[Run]) -> None:
    """Of one run the last three that matter; of several the last of each."""
    shown = 3 if len(runs) == 1 else 1
    for run in runs:
        loud = [event for event in run.events if event.get("kind") in LOUD]
        for event in _last(loud, shown):
            said = f"{run.name}, step {event['step']}, {event['kind']}: {event.get('message', '')}"
            console.print(
                one_line(said), soft_wrap=len(runs) == 1, overflow="ellipsis", no_wrap=len(runs) > 1
            )
        if len(loud) > shown and len(runs) == 1:
            console.print(one_line(f"{run.name}: {len(loud) - shown} more on the page"))


def _last(loud: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The last ones in order; warnings, which repeat each step, only where nothing else takes the place."""
    ranked = sorted(range(len(loud)), key=lambda index: (loud[index]["kind"] != "warning", index))
    return [loud[index] for index in sorted(ranked[-count:])]


def _progress(run: Run) -> list[list[str]]:
    """[metric, first, last]: means over the first and last tenth of the steps; of a benchmark both ends."""
    found = []
    for name in MAIN[run.kind]:
        if (ends := _ends_of(run, name)) is not None:
            found.append([name, *map(number, ends)])
    for name in plots.benches(run.rows).values():
        rows = [row for row in run.rows if row.get(name) is not None]
        if rows:
            found.append([name, *(_interval(row, name) for row in (rows[0], rows[-1]))])
    return found


def _ends_of(run: Run, name: str) -> tuple[float, float] | None:
    values = [row[name] for row in run.rows if row.get(name) is not None]
    tenth = max(len(values) // 10, 1)
    return (sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth) if values else None


def _both_ends(run: Run, name: str) -> str:
    ends = _ends_of(run, name)
    return "-" if ends is None else " → ".join(map(number, ends))


def _last_of(run: Run, name: str) -> str:
    rows = [row for row in run.rows if row.get(name) is not None]
    return _interval(rows[-1], name) if rows else "-"


def _interval(row: dict[str, Any], name: str) -> str:
    low, high = (row.get(f"{name.rpartition('/')[0]}/ci95_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" [{low:.1%}, {high:.1%}]"
    return f"{row[name]:.1%}{interval}"


def _differences(console: Any, runs: list[Run]) -> None:
    """A row for each run, a column for each key that differs."""
    differing = differences(runs)
    if not differing:
        return
    first = [("differs", [one_line(run.name) for run in runs])]
    cells = {key: [_value(value) for value in values] for key, values in differing.items()}
    short = short_keys(list(cells))
    table, left = fitted([*first, *cells.items()], console.width, kept=2)
    if left:
        table, left = fitted(
            [*first, *((short[key], each) for key, each in cells.items())], console.width, kept=2
        )
    console.print(table)
    if left:
        console.print(f"{len(left)} more differing keys on the page: {', '.join(left)}"[: 3 * console.width])


def _value(value: Any) -> str:
    text = "-" if value is None else one_line(text_of(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
