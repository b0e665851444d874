"""Whether responses can be grown as trees with what else a recipe asks of its engine (advantage=tree)."""

from __future__ import annotations

from rlvr_cli.compose.environments import played
from rlvr_cli.schema import Placement, Recipe


def check_trees(recipe: Recipe) -> None:
    """ValueError for what a tree cannot be grown with."""
    if not hasattr(recipe.algorithm.advantage, "branching"):
        return
    rollout, what = recipe.rollout, f"algorithm.advantage={recipe.algorithm.advantage.name}"
    if rollout.max_staleness:
        raise ValueError(
            f"rollout.max_staleness is {rollout.max_staleness}, and {what} grows a tree within one step; set "
            "rollout.max_staleness=0"
        )
    if rollout.stop:
        raise ValueError(
            f"rollout.stop ends responses at a string, and {what} samples them in pieces, which may cut it; "
            "leave it out"
        )
    if rollout.tensor_parallel > 1 and rollout.placement is Placement.in_process:
        raise ValueError(
            f"{what}: with rollout.tensor_parallel={rollout.tensor_parallel} an engine in the trainer's "
            "process has several ranks, and a tree is grown by one; set rollout.placement=servers"
        )
    if (key := next((k for k in played(recipe) if k.startswith("data.")), None)) is not None:
        raise ValueError(
            f"{key}: {what} samples anew from within a response, and an environment cannot go back; choose "
            "another advantage"
        )
