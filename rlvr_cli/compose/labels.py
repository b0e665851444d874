"""Majority labels of a source: only where somebody judges by them."""

from __future__ import annotations

from rlvr_cli.compose.difficulty import sources_taken_whole
from rlvr_cli.schema import EvalRecipe, Recipe, SFTRecipe, Source
from rlvr_cli.schema.first_verifiers import first_verifiers
from rlvr_cli.verifiers.several_golds import Reads, reads


def check_labels(recipe: Recipe | SFTRecipe | EvalRecipe) -> None:
    """ValueError, key first, for the first source whose labels nobody would read."""
    if isinstance(recipe, Recipe):
        for name, source in recipe.data.items():
            if source.labels is not None:
                _check_use(f"data.{name}", source, recipe)
    for key, source in sources_taken_whole(recipe).items():
        if source.labels is not None:
            raise ValueError(f"{key}.labels are gold answers for reinforcement learning; leave them out here")


def _check_use(key: str, source: Source, recipe: Recipe) -> None:
    assert source.labels is not None
    if not source.labels.file.strip():
        raise ValueError(f"{key}.labels.file is empty; name a profile, or leave labels out")
    if source.environment is not None:
        raise ValueError(
            f"{key}.labels: a profile labels problems with one answer, and {key}.environment plays these in "
            "turns; leave one out"
        )
    for name in first_verifiers(source):
        verifier = recipe.verifiers.get(name)
        if verifier is not None and reads(verifier) is Reads.no_gold:
            raise ValueError(
                f"{key}.labels are gold answers, and verifiers.{name} ({verifier.name}) reads none; take "
                "math, or leave them out"
            )
