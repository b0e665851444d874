"""The table `rlvr eval` ends with."""

from __future__ import annotations

from typing import Any, TextIO


def print_results(terminal: TextIO, results: dict[str, dict[str, Any]]) -> None:
    """One row per result file: its bench and summary (evaluate.summarise)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("bench", "score", "95% interval", "pass", "problems", "tokens", "truncated", "no answer"):
        table.add_column(title, justify="left" if title == "bench" else "right", no_wrap=True)
    for summary in results.values():
        average = next(name for name in summary if name.startswith("avg@"))
        best = next(name for name in summary if name.startswith("pass@"))
        table.add_row(
            summary["bench"],
            f"{average} {summary[average]:.1%}",
            f"{summary['ci95_low']:.1%} - {summary['ci95_high']:.1%}",
            f"{best} {summary[best]:.1%}",
            f"{summary['problems']:.0f}",
            f"{summary['response_length']:.1f}",
            f"{summary['truncated_fraction']:.1%}",
            f"{summary['no_answer_fraction']:.1%}",
        )
    console = Console(file=terminal, width=None if terminal.isatty() else 110)
    console.print(table)
    for path in results:
        console.print(f"numbers and every sample: {path}", soft_wrap=True, highlight=False)
