"""Sampling ahead of training, and what else a recipe asks of the engine."""

from __future__ import annotations

from rlvr_cli.schema import EvalRecipe, Overlap, Recipe
from rlvr_cli.schema.stages import stages_of


def check_ahead(recipe: Recipe | EvalRecipe) -> None:
    """ValueError where nothing trains, or where each step samples more itself."""
    if not recipe.rollout.max_staleness:
        return
    if isinstance(recipe, EvalRecipe):
        raise ValueError(
            "rollout.max_staleness does nothing here: an evaluation trains nothing to be sampled for; "
            "leave it out"
        )
    most, prompts = recipe.rollout.max_concurrent, max(s.batch.prompts_per_step for s in stages_of(recipe))
    if most is not None and most < prompts:
        raise ValueError(
            f"rollout.max_concurrent is {most}, and a step trains on {prompts} prompts: set at least "
            f"rollout.max_concurrent={prompts}"
        )
    if recipe.rollout.overlap is Overlap.beside and hasattr(recipe.algorithm.advantage, "boundaries"):
        raise ValueError(
            f"algorithm.advantage={recipe.algorithm.advantage.name} samples on from each step's responses, "
            "and the engine is taken: set rollout.overlap=between"
        )
