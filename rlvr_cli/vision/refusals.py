"""What a model that sees cannot be combined with yet; said before anything starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import TINY_VISION
from rlvr_cli.schema import (
    EvalRecipe,
    ExperienceRecipe,
    Kernels,
    Model,
    ProfileRecipe,
    Recipe,
    SelectBy,
    SFTRecipe,
    Vision,
)
from rlvr_cli.vision.processor import KNOWN, processor_of


def sees(model: Model) -> bool:
    """Whether the model of a resolved path sees images, by its files; False where they are not here."""
    if model.path == TINY_VISION:
        return True
    try:
        config = json.loads((Path(model.path).expanduser() / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in KNOWN


def check_vision(recipe: Any) -> None:
    """`refuse`, where the recipe's model sees as far as its files tell."""
    if sees(recipe.model):
        refuse(recipe)


def refuse_unseen(recipe: Any, tokenizer: Any) -> None:
    """The same once the model is there: that of a hub id is not known before. Raises UserError."""
    if processor_of(tokenizer) is None:
        return
    try:
        refuse(recipe)
    except ValueError as error:
        raise UserError(str(error)) from error


def refuse(recipe: Any) -> None:
    """ValueError, one line, for the first thing that a recipe of a model that sees cannot have."""
    for key, said in _faults(recipe):
        raise ValueError(f"{key}: '{recipe.model.path}' sees images, {said} (docs/vision.md says what works)")


def _faults(recipe: Any) -> Iterator[tuple[str, str]]:
    model = recipe.model
    if model.lora.rank and model.vision is Vision.train:
        yield "model.vision=train", "whose tower is not trained in adapters; set model.vision=frozen"
    if model.mask.on:
        yield "model.mask", "for which masks are not checked; leave it out"
    trainer = getattr(recipe, "trainer", None)
    if trainer is not None and trainer.sequence_parallel > 1:
        yield "trainer.sequence_parallel", "whose rows are not cut over ranks; set it to 1"
    if trainer is not None and trainer.kernels is not Kernels.plain:
        yield "trainer.kernels", "for which these kernels are not checked; set trainer.kernels=plain"
    if isinstance(recipe, SFTRecipe):
        if recipe.algorithm.name != "sft":
            yield "algorithm", f"which {recipe.algorithm.name} does not show it; take sft or an RL algorithm"
        return
    if isinstance(recipe, ExperienceRecipe):
        yield "algorithm", "and experiences are of texts; take an RL algorithm"
    if isinstance(recipe, ProfileRecipe) and recipe.server.url is not None:
        yield "server.url", "which are not sent to a profile's server; leave it out"
    if isinstance(recipe, EvalRecipe):
        yield from _of_evaluation(recipe)
    elif isinstance(recipe, Recipe):
        yield from _of_rl(recipe)


def _of_evaluation(recipe: EvalRecipe) -> Iterator[tuple[str, str]]:
    if recipe.server.url is not None and not recipe.server.chat:
        yield "server.api", "which servers take in messages; set server.api=chat"
    if recipe.select.by is SelectBy.otv:
        yield "select.by=otv", "and one-token verifiers read texts; leave it out"
    if recipe.contamination is not None:
        yield "contamination", "and the probe cuts prompts, which may cut an image; leave it out"
    for name, bench in recipe.benches.items():
        if bench.environment is not None:
            yield f"benches.{name}.environment", "which environments do not show it; leave it out"


def _of_rl(recipe: Recipe) -> Iterator[tuple[str, str]]:
    advantage = recipe.algorithm.advantage
    if advantage.needs_critic:
        yield (
            "algorithm.advantage",
            "which a critic does not; choose an advantage without one, e.g. group_zscore",
        )
    if hasattr(advantage, "branching") or hasattr(advantage, "boundaries"):
        yield f"algorithm.advantage={advantage.name}", "and samples on within responses; choose another one"
    if recipe.algorithm.distillation.needs_teacher:
        yield "algorithm.distillation", "which a teacher is not shown; leave it out"
    for name, source in recipe.data.items():
        if source.environment is not None:
            yield f"data.{name}.environment", "which environments do not show it; leave it out"
