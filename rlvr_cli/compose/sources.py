"""Keys of a source that mean something for some recipes alone."""

from __future__ import annotations

from rlvr_cli.compose.difficulty import check_difficulty, sources_taken_whole
from rlvr_cli.compose.labels import check_labels
from rlvr_cli.schema import Context, EvalRecipe, Recipe, SFTRecipe


def check_sources(recipe: Recipe | SFTRecipe | EvalRecipe) -> None:
    """ValueError, key first, for the first that would do nothing or cannot be what was meant."""
    check_difficulty(recipe)
    check_labels(recipe)
    if isinstance(recipe, Recipe) and recipe.teacher.context is not Context.none:
        for name, source in recipe.data.items():
            if source.instructions:
                raise ValueError(
                    f"data.{name}.instructions would be in the policy's prompts and not in those with "
                    "teacher.context; write them into data.<name>.prompt"
                )
    for key, source in sources_taken_whole(recipe).items():
        if source.metrics_by is not None:
            raise ValueError(f"{key}.metrics_by tells the samples of training apart; leave it out here")
        if source.instructions and isinstance(recipe, SFTRecipe):
            raise ValueError(
                f"{key}.instructions are for prompts that are sampled from; write them into the examples"
            )
