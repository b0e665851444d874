"""Where a run tells its rules what was recorded, and says what they find."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.diagnosis.history import context_of
from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.evaluation.stored_results import problems_of
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking import Tracker, read_metrics
from rlvr_cli.tracking.null_tracker import NullTracker


def make_watch(stages: list[Recipe]) -> Watch | None:
    """The rules' memory; rank 0 has it, as it has the metrics."""
    if distributed.rank() != 0 or not stages[0].diagnosis.enabled:
        return None
    return Watch(stages[0].diagnosis, [context_of(stage) for stage in stages])


def diagnose(
    watch: Watch | None,
    tracker: Tracker | NullTracker,
    row: dict[str, Any],
    problems: dict[str, float] | None = None,
) -> None:
    """Right after a row is recorded: say which findings begin or end with it.

    `problems`: of an evaluation, problem -> share of its samples that are correct.
    """
    if watch is None:
        return
    for finding in watch.add(row, problems):
        fields = asdict(finding)
        tracker.event("diagnosis", fields.pop("message"), **fields)


def recalled(stages: list[Recipe], out: Path) -> Watch | None:
    """The rules' memory of a run that goes on, from the rows that `tracker.resume_at` has left."""
    watch = make_watch(stages)
    if watch is not None:
        watch.replay(read_metrics(out), problems_of(out))
    return watch
