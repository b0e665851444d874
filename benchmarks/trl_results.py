"""What vs_trl.py measures of a run, and its table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

WINDOW = 5
"""Steps whose sampled completions make up one measurement of accuracy."""


@dataclass(kw_only=True)
class Result:
    side: str
    seed: int
    start_up: float
    """Seconds from the start of the process to the start of the first step."""
    training: float
    """Seconds of all steps."""
    tokens_per_second: float
    peak_gib: float
    """Resident memory of the side's largest process, at its peak."""
    to_target: float
    """Seconds of training until the target; infinite when it was not reached."""
    accuracy: list[float]
    """Of each step's samples."""


def summarise(
    side: str, seed: int, start_up: float, peak: float, rows: list[dict[str, float]], target: float
) -> Result:
    accuracy = [row["accuracy"] for row in rows]
    seconds, to_target = 0.0, math.inf
    for n, row in enumerate(rows, 1):
        seconds += row["seconds"]
        if n >= WINDOW and sum(accuracy[n - WINDOW : n]) / WINDOW >= target:
            to_target = min(to_target, seconds)
    return Result(
        side=side,
        seed=seed,
        start_up=start_up,
        training=seconds,
        tokens_per_second=sum(row["tokens"] for row in rows) / seconds,
        peak_gib=peak,
        to_target=to_target,
        accuracy=[round(a, 4) for a in accuracy],
    )


def show(results: list[Result], target: float, generation: str) -> dict[str, float]:
    """Print the table; rlvr over TRL, as medians over seeds."""
    table = Table(title=f"TRL generates with {generation}", title_justify="left")
    goal = [f"s to {target:.0%}"] if math.isfinite(target) else []
    for heading in ("", "seed", "start-up s", "training s", "tokens/s", "peak GiB", "last accuracy", *goal):
        table.add_column(heading, justify="right" if heading else "left")
    for side in ("rlvr", "TRL"):
        found = [r for r in results if r.side == side]
        for r in found:
            table.add_row(side, str(r.seed), *cells([r], bool(goal)))
        if found:
            table.add_row(side, "median", *cells(found, bool(goal)), style="bold", end_section=True)
    console = Console()
    console.print(table)
    pairs = [
        (mine, other) for mine in results for other in results if (mine.side, other.side) == ("rlvr", "TRL")
    ]
    pairs = [(mine, other) for mine, other in pairs if mine.seed == other.seed]
    if not pairs:
        return {}
    ratios = {
        "tokens/s, rlvr / TRL": median(m.tokens_per_second / t.tokens_per_second for m, t in pairs),
        "peak memory, rlvr / TRL": median(m.peak_gib / t.peak_gib for m, t in pairs),
    }
    if goal and all(math.isfinite(m.to_target) for m, _ in pairs):
        ratios[f"seconds to {target:.0%}, TRL / rlvr"] = median(t.to_target / m.to_target for m, t in pairs)
    for name, ratio in ratios.items():
        console.print(f"{name}: [bold]{ratio:.2f}[/bold]")
    return ratios


def cells(found: list[Result], goal: bool) -> list[str]:
    """Medians over these runs."""
    reached = median(r.to_target for r in found)
    return [
        f"{median(r.start_up for r in found):.1f}",
        f"{median(r.training for r in found):.1f}",
        f"{median(r.tokens_per_second for r in found):,.0f}",
        f"{median(r.peak_gib for r in found):.2f}",
        f"{median(sum(r.accuracy[-WINDOW:]) / len(r.accuracy[-WINDOW:]) for r in found):.3f}",
        *([f"{reached:.1f}" if math.isfinite(reached) else "never"] if goal else []),
    ]
