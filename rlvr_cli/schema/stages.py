"""The recipe as it stands in each of its stages: pure functions of recipe and step, nothing to checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlvr_cli.core.errors import hint
from rlvr_cli.schema import Recipe, Stage


def stage_at(recipe: Recipe, step: int) -> int:
    """Stage of the step that follows `step` finished ones; 0 before the first of `recipe.stages`."""
    return sum(stage.after <= step for stage in recipe.stages.values())


def stages_of(recipe: Recipe) -> list[Recipe]:
    """Element i is the recipe in stage i (0: as written). A stage changes the one before it.

    The parts of an algorithm that carry state from step to step are shared by all of them. Raises
    ValueError, one line that names the stage, for a stage that does not fit the recipe.
    """
    found = [replace(recipe, algorithm=_algorithm(recipe, Stage(after=1)))]
    before = 0
    for name, stage in recipe.stages.items():
        try:
            if stage.after <= before:
                raise ValueError(
                    f"after is {stage.after}; it must be at least {before + 1}: stages follow each other"
                )
            found.append(_changed(found[-1], stage))
        except ValueError as error:
            raise ValueError(f"stages.{name}: {error}") from error
        before = stage.after
    return found


def describe(stage: Stage) -> str:
    """What a stage changes, in one line."""
    weights = ", ".join(f"{source} {weight:g}" for source, weight in stage.weights.items())
    keys = ("prompts_per_step", "group_size", "max_tokens", "temperature", "lr", "kl_coef")
    changes = [f"weights {weights}"] if weights else []
    changes += [f"{key} {value:g}" for key in keys if (value := getattr(stage, key)) is not None]
    changes += [f"shaping {stage.shaping.name}"] if stage.shaping is not None else []
    renewed = [what for what in ("reference", "optimizer") if getattr(stage, f"reset_{what}")]
    changes += [f"{' and '.join(renewed)} reset"] if renewed else []
    return "; ".join(changes) or "nothing changes"


def _changed(recipe: Recipe, stage: Stage) -> Recipe:
    for source, weight in stage.weights.items():
        if source not in recipe.data:
            raise ValueError(f"weights: '{source}' is not in data{hint(source, recipe.data)}")
        if not weight >= 0:
            raise ValueError(f"weights.{source} is {weight}; it must not be negative")
    data = {name: replace(s, weight=stage.weights.get(name, s.weight)) for name, s in recipe.data.items()}
    if not any(source.weight > 0 for source in data.values()):
        raise ValueError("weights leaves no source to draw from; set one above 0")
    return replace(
        recipe,
        data=data,
        batch=replace(recipe.batch, **_given(stage, "prompts_per_step", "group_size")),
        rollout=replace(recipe.rollout, **_given(stage, "max_tokens", "temperature")),
        trainer=replace(recipe.trainer, **_given(stage, "lr")),
        algorithm=_algorithm(recipe, stage),
    )


def _given(stage: Stage, *keys: str) -> dict[str, Any]:
    return {key: getattr(stage, key) for key in keys if getattr(stage, key) is not None}


def _algorithm(recipe: Recipe, stage: Stage) -> Any:
    """With a shaping of its own: the lengths it leaves open are filled in from the stage's max_tokens."""
    algorithm = recipe.algorithm
    kl = algorithm.kl
    if stage.kl_coef is not None:
        if not hasattr(kl, "coef"):
            raise ValueError(
                f"kl_coef: algorithm.kl={kl.name} has no coefficient; choose kl=loss or kl=reward"
            )
        schedule = getattr(kl, "schedule", None)  # an option of a plugin may have none
        if schedule is not None and schedule.value != "constant":
            raise ValueError(
                f"kl_coef: algorithm.kl.schedule={schedule.value} changes the coefficient itself; leave one "
                "of the two out"
            )
        kl = replace(kl, coef=stage.kl_coef)
    return replace(algorithm, shaping=replace(stage.shaping or algorithm.shaping), kl=kl)
