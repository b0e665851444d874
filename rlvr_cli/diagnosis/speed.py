"""Where time is lost that was not lost before."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from rlvr_cli.diagnosis import Evidence, rule
from rlvr_cli.diagnosis.history import History, Row
from rlvr_cli.schema import Diagnosis

SHARE = 0.6
"""Of the time lost, to call one phase responsible."""
APART = 3.0
"""Its slowdown against that of all the rest; a machine that is busy otherwise slows everything down."""
NEEDED = {"timing_s/step", "perf/tokens_per_second"}
LEAST_S = 0.05
"""Seconds per step that are worth a word."""


@rule(
    "a phase slowed down",
    "look at that phase: for rollout at rollout.max_num_seqs and rollout.gpu_memory_utilization "
    "(preemptions), for verify at verification.workers and verification.timeout_s, for update at "
    "batch.tokens_per_microbatch, and at what else the machine does",
    change=("rollout.max_num_seqs", "verification.workers", "batch.tokens_per_microbatch"),
    symptom="it-is-slow",
)
def slow_phase(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The seconds per token are above `diagnosis.slowdown` times those of the first window, and one phase has
    over 60% of the loss and slowed down three times as much as all the rest."""
    window, rows = settings.window, history.rows
    if len(rows) < 2 * window + 1:
        return None
    parts = rows[1 : window + 1], rows[-window:]  # the first warms up
    if not all(row.keys() >= NEEDED for part in parts for row in part):
        return None
    before, now = (_per_token(part, ["timing_s/step"])["step"] for part in parts)
    if not now > settings.slowdown * before * ease:
        return None
    total = before, now
    early, late = (_per_token(part, sorted(_phases(part))) for part in parts)
    lost = {phase: seconds - early.get(phase, 0.0) for phase, seconds in late.items()}
    worst = max(lost, key=lost.__getitem__, default=None)
    if worst is None or lost[worst] < SHARE * (total[1] - total[0]):
        return None
    tokens = median(row["timing_s/step"] * row["perf/tokens_per_second"] for row in rows[-window:])
    rest = (total[1] - late[worst]) / max(total[0] - early.get(worst, 0.0), 1e-12)
    slower = late[worst] / max(early.get(worst, 0.0), 1e-12)
    if slower < APART * rest * ease or lost[worst] * tokens < LEAST_S:
        return None
    return _evidence(worst, early.get(worst, 0.0) * tokens, late[worst] * tokens, total, rest)


def _phases(rows: list[Row]) -> set[str]:
    return {k for row in rows for k in row if k.startswith("timing_s/")} - {"timing_s/step"}


def _per_token(rows: list[Row], phases: Iterable[str]) -> dict[str, float]:
    """Median seconds per token of each of the phases, over some steps."""
    tokens = [row["timing_s/step"] * row["perf/tokens_per_second"] for row in rows]
    return {
        phase.removeprefix("timing_s/"): median(
            row.get(phase, 0.0) / count for row, count in zip(rows, tokens, strict=True)
        )
        for phase in phases
    }


def _evidence(phase: str, before: float, now: float, total: tuple[float, float], rest: float) -> Evidence:
    text = (
        f"throughput fell from {1 / total[0]:,.0f} to {1 / total[1]:,.0f} tokens per second: the phase "
        f"'{phase}' takes {now:.2g} s where it took {before:.2g} s for as many tokens, the rest {rest:.1f} "
        "times as long as before"
    )
    return Evidence(text, {"before": before, "now": now, "tokens_per_second": 1 / total[1], "rest": rest})
