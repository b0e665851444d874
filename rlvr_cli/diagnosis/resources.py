"""What a run takes of its machine: a disk that it waits for, memory that it never gives back."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from rlvr_cli.diagnosis import Evidence, rule
from rlvr_cli.diagnosis.history import History
from rlvr_cli.schema import Diagnosis

WRITES = ("timing_s/record", "timing_s/checkpoint")
STEP = "timing_s/step"
MEMORY = "perf/host_memory_gb"

WAITING = 0.3
"""Share of the time of a step, from which the disk is what the run waits for."""
LEAST_S = 0.5
"""Seconds of writing in a step that are worth a word: tiny steps may write for a third of their time."""
PARTS = 6
"""The steps after the first window in so many equal stretches; each must lie above the one before."""
STEADY = 0.5
"""Of its fair share of the growth, that each stretch must add: a jump is no growth."""
STILL = 0.8
"""Growth of the two newest stretches, of that of the two oldest: what levels off is a cache that fills."""
GROWN = 0.05
"""Of the memory at the start."""
GROWN_GB = 0.125


@rule(
    "a slow disk",
    "training waits for it; put `out` on a faster one, write checkpoints more rarely (checkpoint.every) or "
    "no samples (tracker.rollouts=false), and see what else writes there",
    change=("out", "checkpoint.every", "tracker.rollouts"),
    symptom="it-is-slow",
)
def slow_disk(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Writing metrics, samples and checkpoints takes over 30% of the time of the window, and half a second
    a step."""
    rows = history.rows[-history.window :]
    if len(rows) < history.window or not all(STEP in row for row in rows):
        return None
    total = sum(row[STEP] for row in rows) / len(rows)
    samples, checkpoints = (sum(row.get(name, 0.0) for row in rows) / len(rows) for name in WRITES)
    spent = samples + checkpoints
    if not (spent > WAITING * total * ease and spent > LEAST_S * ease):
        return None
    text = (
        f"writing takes {spent:.2g} s of the {total:.2g} s of a step ({spent / total:.0%}) in "
        f"{history.steps}: {samples:.2g} s metrics and samples, {checkpoints:.2g} s checkpoints"
    )
    return Evidence(text, {"share": spent / total, "seconds": spent, "checkpoints": checkpoints})


@rule(
    "growing host memory",
    "something is kept that should be let go, and the rank will be killed when the machine has no more; see "
    "what your own code (plugins, verifiers in the ranks) collects, and until it is mended end and go on "
    "again from a checkpoint (checkpoint.every)",
    change=("plugins", "checkpoint.every"),
    symptom="it-runs-out-of-memory",
)
def growing_memory(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """After four windows: the memory of a rank is more than 5% and 128 MiB above what it was after the
    first, and has risen by about as much in each sixth of the steps since."""
    values = history.values(MEMORY)[history.window :]
    size = len(values) // PARTS
    if len(values) < 3 * history.window or size < 2:
        return None
    begin = len(values) - PARTS * size
    levels = [median(values[begin + n * size : begin + (n + 1) * size]) for n in range(PARTS)]
    rises = [after - before for before, after in pairwise(levels)]
    grown = levels[-1] - levels[0]
    if not grown > max(GROWN * levels[0], GROWN_GB) * ease:
        return None
    steady = min(rises) >= STEADY * ease * grown / (PARTS - 1)
    if not steady or sum(rises[-2:]) < STILL * ease * sum(rises[:2]):
        return None
    steps = (PARTS - 1) * size
    text = (
        f"the memory of a rank rose steadily from {levels[0]:.2f} to {levels[-1]:.2f} GiB in {steps} steps, "
        f"by {1024 * grown / steps:.1f} MiB a step"
    )
    return Evidence(text, {"start": levels[0], "now": levels[-1], "mib_a_step": 1024 * grown / steps})
