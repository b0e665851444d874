"""Stages of a recipe as they begin: their values go into the parts that hold copies of them."""

from __future__ import annotations

from rlvr_cli.rollout import Sampling
from rlvr_cli.schema.stages import describe, stage_at
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resets import reset_optimizer, reset_reference


def take_values(parts: Parts, number: int) -> None:
    """Put a stage's recipe in force, also in the parts that copied values out of it."""
    parts.recipe = recipe = parts.stages[number]
    parts.sampling = Sampling.of(recipe.rollout, logprobs=True)
    parts.trainer.temperature = recipe.rollout.temperature
    parts.sampler.mix({name: source.weight for name, source in recipe.data.items()})


def enter_stage(parts: Parts) -> None:
    """Begin the stage of the next step, if there is a next one and it belongs to another than the last.

    Called right after a step, so that a checkpoint made there holds the stage and what it has reset.
    """
    number = stage_at(parts.recipe, parts.step)
    if parts.ended or number == parts.state["stage"]:
        return
    before = parts.sampling, parts.recipe.batch.group_size
    parts.state["stage"] = number
    take_values(parts, number)
    name, stage = list(parts.recipe.stages.items())[number - 1]
    parts.tracker.event(
        "stage", f"stage {name} begins after step {parts.step}: {describe(stage)}", stage=name
    )
    if parts.ahead is not None and before != (parts.sampling, parts.recipe.batch.group_size):
        parts.ahead.begin_anew(f"stage {name} samples otherwise")
    if stage.reset_reference:
        reset_reference(parts, f"stage {name}")
    if stage.reset_optimizer:
        reset_optimizer(parts, f"stage {name}")
