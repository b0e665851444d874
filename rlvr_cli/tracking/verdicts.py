"""The tables `rlvr verify` ends with."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from rlvr_cli.core.causes import causes, commonest
from rlvr_cli.core.types import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = 10
"""Rows of disagreements and failures; `--out` has all."""


def print_verdicts(terminal: TextIO, name: str, verdicts: list[Verdict]) -> None:
    """Count, mean score, reasons and latency of one verifier."""
    console, table = console_on(terminal), table_of(name, "")
    scores = [verdict.score for verdict in verdicts if verdict.scored]
    reasons = Counter(verdict.reason.value for verdict in verdicts)
    table.add_row("verdicts", f"{len(verdicts):,}")
    table.add_row("mean score", f"{sum(scores) / len(scores):.4f}" if scores else "-")
    for reason, count in reasons.most_common():
        table.add_row(f"  {reason}", f"{count:,}  ({count / len(verdicts):.1%})")
    table.add_row("without a score", f"{len(verdicts) - len(scores):,}  (timeout, crash)")
    if disputed := sum(verdict.disputed for verdict in verdicts):
        table.add_row("disputed", f"{disputed:,}  (in disputed.jsonl with --out)")
    table.add_row("latency", latency(verdicts))
    console.print(table)
    if cause := commonest(causes((verdict.reason.value, verdict.detail) for verdict in verdicts)):
        console.print(_text(f"no verdict, mostly {cause}"), soft_wrap=True)


def latency(verdicts: list[Verdict]) -> str:
    """`p50 0.03 ms, p99 4.1 ms`"""
    if not verdicts:
        return "-"
    p50, p99 = np.percentile([verdict.ms for verdict in verdicts], [50, 99])
    return f"p50 {p50:.3g} ms, p99 {p99:.3g} ms"


def print_comparison(terminal: TextIO, ids: list[str], verdicts: list[dict[str, Verdict]]) -> None:
    """How often each pair of verifiers disagrees, and the first rows where any two do."""
    console, table = (
        console_on(terminal),
        table_of("pair", "agree", "only first", "only second", "one unscored"),
    )
    names = list(verdicts[0])
    for a, b in combinations(names, 2):
        pairs = [(each[a], each[b]) for each in verdicts]
        both = [(x.score, y.score) for x, y in pairs if x.scored and y.scored]
        agree = sum(x == y for x, y in both)
        higher = sum(x > y for x, y in both)
        table.add_row(
            f"{a}, {b}",
            f"{agree:,}  ({agree / len(pairs):.1%})",
            f"{higher:,}",
            f"{len(both) - agree - higher:,}",
            f"{len(pairs) - len(both):,}",
        )
    console.print(table)
    differing = [
        (row, each)
        for row, each in zip(ids, verdicts, strict=True)
        if len({verdict.score if verdict.scored else None for verdict in each.values()}) > 1
    ]
    if differing:
        rows = table_of("row", *names)
        for row, each in differing[:SHOWN]:
            rows.add_row(_text(row), *(_text(_verdict(each[name])) for name in names))
        console.print(rows)
        _more(console, len(differing))


def print_self_test(terminal: TextIO, name: str, rows: int, result: Any, floor: float) -> None:
    """Rates of a verifiers.selftest.SelfTest, its failures, and whether it reaches the floor."""
    console, table = console_on(terminal), table_of(f"self-test of {name}", "")
    table.add_row("rows", f"{rows:,}")
    for what, bad, count, rate in (
        ("right answers refused", result.refused, result.golds, result.false_negative_rate),
        ("wrong answers accepted", result.accepted, result.mutants, result.false_positive_rate),
    ):
        table.add_row(what, f"{len(bad):,} of {count:,}  ({rate:.2%})")
    table.add_row("without a score", f"{result.unscored:,}")
    table.add_row("latency", latency(result.verdicts))
    reached = "reached" if result.rate >= floor else "missed"
    table.add_row("floor", f"{floor:g} {reached}: {result.rate:.4f}")
    console.print(table)
    if len(result.right) > 1 or len(result.wrong) > 1:
        console.print(_classes(result))
    failures = [("refused", one) for one in result.refused] + [("accepted", one) for one in result.accepted]
    if failures:
        found = table_of("row", "", "class", "gold", "response", "verdict")
        for kind, one in failures[:SHOWN]:
            said = _verdict(one.verdict) if one.verdict is not None else "the gold answer cannot be used"
            shown = (one.kind, one.answer, one.response[-80:], said)
            found.add_row(_text(one.id), kind, *map(_text, shown))
        console.print(found)
        _more(console, len(failures))


def _classes(result: Any) -> Any:
    table = table_of("class", "", "responses", "judged wrongly")
    for what, classes in (("right", result.right), ("wrong", result.wrong)):
        for kind, tally in classes.items():
            table.add_row(_text(kind or "all"), what, f"{tally.responses:,}", f"{tally.failed:,}")
    return table


def _verdict(verdict: Verdict) -> str:
    score = f"{verdict.score:g} " if verdict.scored else ""
    said = verdict.detail if verdict.extracted is None else verdict.extracted
    return f"{score}{verdict.reason.value}: {said[:60]}".rstrip(": ")


def _more(console: Console, count: int) -> None:
    if count > SHOWN:
        console.print(f"{count - SHOWN:,} more; --out FILE writes all")


def _text(text: str) -> Any:
    """Responses are anybody's: rich must not read [brackets] in them, nor a terminal their control codes."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() else " " for c in text))


def console_on(terminal: TextIO) -> Console:
    from rich.console import Console

    return Console(file=terminal, width=None if terminal.isatty() else 110)


def table_of(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number == 0 else "default")
    return table
