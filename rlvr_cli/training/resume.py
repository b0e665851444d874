"""The state of a run, to and from its checkpoints."""

from __future__ import annotations

from typing import Any

from rlvr_cli.checkpoints.checkpoint import flights_file
from rlvr_cli.checkpoints.recipe_changes import completed, differences
from rlvr_cli.core import distributed, rng
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.schema import Recipe
from rlvr_cli.training.ahead import demand_ahead
from rlvr_cli.training.diagnose import recalled
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.rubrics import restore_rubrics
from rlvr_cli.training.stage_changes import take_values
from rlvr_cli.training.taught import restore_teacher, teacher_file
from rlvr_cli.training.tracker import tell_resume
from rlvr_cli.training.weight_sync import trainer_awake

STATEFUL = ("reweight", "reference", "entropy", "gradient", "kl")
"""Axes whose options may carry state from step to step."""


def restore(parts: Parts) -> None:
    """Continue from the newest good checkpoint of the run directory, if there is one."""
    step, damaged = parts.checkpoints.newest_good()
    if step is None:
        parts.tracker.resume_at(None)
        rng.seed(parts.stages[0].seed, distributed.rank())
        return
    with trainer_awake(parts):
        state = parts.checkpoints.load(step, parts.trainer, parts.reference, parts.critic)
        restore_teacher(parts, step)
    parts.step = step
    heart.step(step)
    parts.state |= state["loop"]
    restore_rubrics(parts, state["loop"])
    new = parts.checkpoints.recipe
    changed = differences(completed(state["recipe"], new, parts.recipe), new, step, parts.state["stage"])
    parts.state["stage"] = min(parts.state["stage"], len(parts.stages) - 1)
    take_values(parts, parts.state["stage"])
    parts.sampler.load(state["sampler"], adopt=bool(changed))
    restore_flights(parts, step, changed)
    fresh = load_axes(parts.recipe.algorithm, state)
    parts.tracker.resume_at(step)
    parts.watch = recalled(parts.stages, parts.out)
    reinstate(parts.recipe, parts.state["controller"])
    tell_resume(parts.tracker, step, damaged, changed)
    if fresh:
        parts.tracker.event("warning", f"another option than before, without its history: {', '.join(fresh)}")
    parts.checkpoints.load_rng(step, parts.stages[0].seed)


def restore_flights(parts: Parts, step: int, changed: list[str]) -> None:
    """Prompts that were in flight go on where they were; after a `changed` recipe they begin anew."""
    saved = parts.checkpoints.flights(step)
    if parts.ahead is None:
        demand_ahead(saved, step)
        return
    parts.ahead.load(saved, parts.sampler, parts.engine)
    if changed:
        parts.ahead.begin_anew("the recipe changed")


def load_axes(algorithm: Any, state: dict[str, Any]) -> list[str]:
    """Give options of the algorithm the state they had; returns the axes with another option than then."""
    before, fresh = state["recipe"]["algorithm"], []
    for axis, saved in state["algorithm"].items():
        option = getattr(algorithm, axis)
        if option.name == before[axis]["name"]:
            option.load(saved)
        else:
            fresh.append(axis)
    return fresh


def save(parts: Parts, *, last: bool = False) -> None:
    """Checkpoint the state after `parts.step` finished steps; all ranks must call it.

    Training may go on while it is written, unless it is the `last`.
    """
    flights = {} if parts.ahead is None else flights_file(distributed.rank(), parts.ahead.state())
    algorithm = parts.recipe.algorithm
    stateful = {a: getattr(algorithm, a) for a in STATEFUL if hasattr(getattr(algorithm, a), "state")}
    state = {
        "sampler": parts.sampler.state(),
        "loop": parts.state,
        "algorithm": {axis: part.state() for axis, part in stateful.items()},
    }
    with parts.timer("checkpoint"), trainer_awake(parts, sync_after=not last):
        flights |= teacher_file(parts)
        parts.checkpoints.save(
            parts.step, parts.trainer, state, parts.reference, parts.critic, files=flights, last=last
        )


def reinstate(recipe: Recipe, controller: dict[str, Any]) -> None:
    """Put what the controller's state says in force, after a checkpoint was loaded."""
    high = controller["clip_ratio_high"]
    if high is not None:
        recipe.algorithm.loss.clip_ratio_high = high  # one object in all stages
