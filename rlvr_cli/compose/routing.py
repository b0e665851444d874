"""What replaying a mixture of experts' routes (`rollout.routing_replay`) goes with."""

from __future__ import annotations

from rlvr_cli.compose.environments import played
from rlvr_cli.schema import EvalRecipe, Placement, Recipe, RolloutLora, RoutingReplay
from rlvr_cli.schema.derived import needs_old_logprobs, updates_in_step


def check_routing(recipe: Recipe | EvalRecipe) -> None:
    """ValueError, one line, where routes cannot be had, or nothing follows them."""
    kind = recipe.rollout.routing_replay
    what = f"rollout.routing_replay={kind.value}"
    if kind is RoutingReplay.none:
        return
    if isinstance(recipe, EvalRecipe):
        raise ValueError(f"{what} is for training; nothing follows the routes of an evaluation: leave it out")
    if recipe.trainer.sequence_parallel > 1:
        raise ValueError(
            f"{what} does not go with trainer.sequence_parallel={recipe.trainer.sequence_parallel}, which "
            "cuts rows over ranks: leave one of the two out"
        )
    if kind is RoutingReplay.r2:
        _check_r2(recipe, what)
    else:
        _check_recorded(recipe, what)


def _check_r2(recipe: Recipe, what: str) -> None:
    """There must be a forward pass before the updates, and updates whose weights are others."""
    if updates_in_step(recipe) == 1:
        raise ValueError(
            f"{what} replays a step's first forward pass, and batch.updates_per_step=1 makes one update "
            "with the same weights: set r3, or more updates"
        )
    if not needs_old_logprobs(recipe):
        raise ValueError(
            f"{what} replays the forward pass of the old logprobs, which this algorithm does without: set r3"
        )


def _check_recorded(recipe: Recipe, what: str) -> None:
    """The engine in the trainer's process must sample each response at once."""
    rollout = recipe.rollout
    if rollout.placement is Placement.servers:
        raise ValueError(
            f"{what} records what an engine in the trainer's process chooses; set "
            "rollout.placement=in_process"
        )
    if rollout.tensor_parallel > 1:
        raise ValueError(
            f"{what} records one rank's engine, and rollout.tensor_parallel={rollout.tensor_parallel} "
            "splits it over several: leave one of the two out"
        )
    if rollout.lora is RolloutLora.adapter:
        raise ValueError(f"{what} does not go with rollout.lora=adapter; set rollout.lora=merged")
    if rollout.max_staleness:
        raise ValueError(
            f"{what} needs the routes of whole responses, and rollout.max_staleness={rollout.max_staleness} "
            "samples them in pieces under different weights; set rollout.max_staleness=0"
        )
    if hasattr(recipe.algorithm.advantage, "branching"):
        raise ValueError(
            f"{what} needs responses that are sampled at once, and algorithm.advantage="
            f"{recipe.algorithm.advantage.name} grows them as trees; choose another advantage"
        )
    if (key := next((k for k in played(recipe) if k.startswith("data.")), None)) is not None:
        raise ValueError(
            f"{key}: {what} knows the routes of one answer to one prompt, not of episodes; leave one out"
        )
