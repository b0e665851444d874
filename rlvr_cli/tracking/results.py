"""The table `rlvr eval` ends with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TextIO

from rlvr_cli.schema.score_names import SMALLEST_STEADY, TAUS
from rlvr_cli.tracking.text import printable

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "bench",
    "correct",
    "95% problems",
    "95% samples",
    "pass",
    "maj",
    "n",
    "tokens",
    "cut",
    "no answer",
    "time",
)
SHARES = ("timeout", "crash", "disputed")
"""Columns of a second table, where any bench has such verdicts."""
LONGEST = 25
"""Rows of a table by subject that are shown; longer ones are in the file alone."""


def print_results(
    terminal: TextIO, results: dict[str, dict[str, Any]], tables: dict[str, dict[str, Any]]
) -> None:
    """One row per result file: its bench, seconds and summary (scores.summarise).

    `tables`: of the same files, by subject (breakdown.by_subject).
    """
    from rich.console import Console

    console = Console(file=terminal, width=None if terminal.isatty() else 120)
    console.print(_overview(results))
    if (more := _more(results)) is not None:
        console.print(more)
    if (steady := _steady(results)) is not None:
        console.print(steady)
    if any("probes" in each for each in results.values()):
        console.print(_selection(results))
    for path, summary in results.items():
        for column, parts in tables[path].items():
            if len(parts) <= LONGEST:
                console.print(_by_subject(f"{summary['bench']} by {column}", column, parts))
    for summary in results.values():
        if summary["cause"]:
            said = f"{summary['bench']}: no verdict, mostly {printable(summary['cause'])}"
            console.print(said, soft_wrap=True, highlight=False, markup=False)
    for path in results:
        console.print(f"numbers and every sample: {path}", soft_wrap=True, highlight=False)


def _table(titles: tuple[str, ...], **options: Any) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), **options)
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    return table


def _overview(results: dict[str, dict[str, Any]]) -> Table:
    table = _table(COLUMNS)
    for summary in results.values():
        table.add_row(
            summary["bench"],
            shown(summary, "avg@"),
            interval(summary, "ci95"),
            interval(summary, "sampling95"),
            shown(summary, "pass@"),
            shown(summary, "maj@"),
            f"{summary['problems']:.0f}",
            f"{summary['response_length']:.1f}",
            f"{summary['truncated_fraction']:.1%}",
            f"{summary['no_answer_fraction']:.1%}",
            f"{summary['seconds']:.0f} s",
        )
    return table


def _more(results: dict[str, dict[str, Any]]) -> Table | None:
    """What not every evaluation has: verdicts that are missing or disputed, partial credit."""
    shares = [name for name in SHARES if any(each[f"{name}_fraction"] for each in results.values())]
    partial = any(each.get("score") != _correct(each) for each in results.values())
    if not shares and not partial:
        return None
    table = _table(("bench", *(["mean score"] if partial else []), *shares))
    for summary in results.values():
        score = f"{summary['score']:.3f}" if "score" in summary else "-"  # on a scale of its own, perhaps
        fractions = (f"{summary[f'{name}_fraction']:.1%}" for name in shares)
        table.add_row(summary["bench"], *([score] if partial else []), *fractions)
    return table


def _steady(results: dict[str, dict[str, Any]]) -> Table | None:
    """How often at least a share of a problem's samples is right; None with few samples of each."""
    rows = {}
    for summary in results.values():
        found = {name: float(value) for name, value in summary.items() if name.startswith("gpass@")}
        k = int(next(iter(found)).partition("@")[2].partition("_")[0]) if found else 0
        if k >= SMALLEST_STEADY:
            shares = [
                f"{found[f'gpass@{k}_{tau}']:.1%}" if f"gpass@{k}_{tau}" in found else "-" for tau in TAUS
            ]
            rows[summary["bench"]] = [str(k), *shares, shown(summary, "mgpass@")]
    if not rows:
        return None
    table = _table(("bench", "k", *(f"gpass, {tau:.0%} right" for tau in TAUS), "mean from 50% on"))
    for bench, cells in rows.items():
        table.add_row(bench, *cells)
    return table


WAYS = ("maj", "weighted", "best", "filtered", "halving", "threshold", "winner")
"""Ways to one answer of several samples, in the order of their table."""


def _selection(results: dict[str, dict[str, Any]]) -> Table:
    """Of `--select otv`: what each way answers, at which cost; saved is against sampling all to the end."""
    table = _table(("bench", "answer by", "correct", "95% problems", "tokens", "saved"))
    for summary in results.values():
        for way in WAYS:
            name = next(
                (each for each in summary if re.fullmatch(rf"{way}@\d+", each) and _widest(summary, each)),
                None,
            )
            if name is None:
                continue
            tokens, saved = summary.get(f"{way}_tokens", summary.get("tokens")), summary.get(f"{way}_saved")
            table.add_row(
                summary["bench"],
                name,
                f"{summary[name]:.1%}",
                interval(summary, f"ci95_{name}"),
                "-" if tokens is None else f"{tokens:,.0f}",
                "-" if saved is None else f"{saved:.1%}",
            )
    return table


def _widest(summary: dict[str, Any], name: str) -> bool:
    """Of all samples of a problem: of those alone there is an interval."""
    return f"ci95_{name}_low" in summary


def _correct(summary: dict[str, Any]) -> float | None:
    return next((value for name, value in summary.items() if name.startswith("avg@")), None)


def _by_subject(title: str, column: str, parts: dict[str, dict[str, float]]) -> Table:
    table = _table((column, "correct", "pass", "n", "cut"), title=title, title_justify="left")
    for name, part in parts.items():
        shares = [f"{part[key]:.1%}" for key in ("avg", "pass", "truncated_fraction")]
        table.add_row(printable(name), *shares[:2], f"{part['problems']:.0f}", shares[2])
    return table


def shown(summary: dict[str, Any], prefix: str) -> str:
    """`pass@8 71.0%`: of the largest number of samples."""
    found = [name for name in summary if name.startswith(prefix)]
    if not found:
        return "-"
    name = max(found, key=lambda name: int(name.removeprefix(prefix)))
    return f"{name} {summary[name]:.1%}"


def interval(summary: dict[str, Any], name: str) -> str:
    if f"{name}_low" not in summary:
        return "-"
    return f"{100 * summary[f'{name}_low']:.1f} - {100 * summary[f'{name}_high']:.1f}"
