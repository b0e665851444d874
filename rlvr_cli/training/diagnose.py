"""Where a run tells its rules what was recorded, and says what they find."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.diagnosis.history import Context
from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking import read_metrics
from rlvr_cli.training.parts import Parts


def make_watch(stages: list[Recipe]) -> Watch | None:
    """The rules' memory; rank 0 has it, as it has the metrics."""
    if distributed.rank() != 0 or not stages[0].diagnosis.enabled:
        return None
    return Watch(stages[0].diagnosis, [context(stage) for stage in stages])


def context(recipe: Recipe) -> Context:
    first = next((source.verifiers[0] for source in recipe.data.values() if source.verifiers), None)
    return Context(
        max_tokens=recipe.rollout.max_tokens,
        grouped=recipe.algorithm.advantage.needs_group,
        first_verifier=first or "the first verifier",
        second_verifier=recipe.diagnosis.second_verifier,
    )


def diagnose(parts: Parts, row: dict[str, Any]) -> None:
    """Right after a row is recorded: say which findings begin or end with it."""
    if parts.watch is None:
        return
    for finding in parts.watch.add(row):
        fields = asdict(finding)
        parts.tracker.event("diagnosis", fields.pop("message"), **fields)


def recall(parts: Parts) -> None:
    """Stand where the run stood after `parts.step`, from the rows that `tracker.resume_at` has left."""
    parts.watch = make_watch(parts.stages)
    if parts.watch is not None:
        parts.watch.replay(read_metrics(parts.out))
