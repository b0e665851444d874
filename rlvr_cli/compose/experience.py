"""What fits together in a recipe that learns experiences."""

from __future__ import annotations

from rlvr_cli.compose.environments import refuse_environments
from rlvr_cli.compose.verifiers_by import check_verifiers_by
from rlvr_cli.core.defaults import default_of
from rlvr_cli.schema import ExperienceRecipe, Placement
from rlvr_cli.verifiers.several_golds import Reads, reads


def check_experience(recipe: ExperienceRecipe) -> None:
    """ValueError, key first, for the first thing that does not fit."""
    fields = ExperienceRecipe.__dataclass_fields__
    for key in recipe.OF_EVAL:
        if getattr(recipe, key) != default_of(fields[key], required=None):
            raise ValueError(
                f"{key} is for rlvr eval, which measures a library with --experiences; leave it out here"
            )
    if recipe.ranks != 1:
        raise ValueError(
            f"ranks is {recipe.ranks}, and one process asks all; for more GPUs set "
            "rollout.placement=servers, or server.url"
        )
    if recipe.rollout.tensor_parallel > 1 and recipe.rollout.placement is Placement.in_process:
        raise ValueError(
            f"rollout.tensor_parallel is {recipe.rollout.tensor_parallel}, and one process samples; set "
            "rollout.placement=servers, or server.url"
        )
    if not recipe.data:
        raise ValueError("data is empty; add e.g. `- data@data.train: gsm8k` to the defaults list")
    refuse_environments(recipe.data, "rollouts here are one answer to each problem")
    for name, source in recipe.data.items():
        if source.shots:
            raise ValueError(
                f"data.{name}.shots is {source.shots}; the library is what comes before a problem"
            )
        if source.difficulty is not None:
            raise ValueError(
                f"data.{name}.difficulty chooses what is trained on, and nothing is; take the problems from "
                "a file of their own"
            )
    check_verifiers_by(recipe)
    if not recipe.algorithm.ground_truth:
        _check_no_gold(recipe)


def _check_no_gold(recipe: ExperienceRecipe) -> None:
    for name, verifier in recipe.verifiers.items():
        if reads(verifier) is not Reads.no_gold:
            raise ValueError(
                f"algorithm.ground_truth is false, and verifiers.{name} ({verifier.name}) compares with gold "
                "answers; take majority, or another verifier that reads none"
            )
