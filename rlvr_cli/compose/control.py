"""What diagnosis and controller need of the rest of a recipe."""

from __future__ import annotations

from dataclasses import fields

from rlvr_cli.core.errors import hint
from rlvr_cli.schema import Action, Actions, Recipe
from rlvr_cli.schema.derived import updates_in_step
from rlvr_cli.schema.first_verifiers import first_verifiers
from rlvr_cli.schema.stages import stages_of


def check_diagnosis(recipe: Recipe) -> None:
    """Second verifier and canary. ValueError that names the key."""
    check_second_verifier(recipe)
    check_canary(recipe)


def check_second_verifier(recipe: Recipe) -> None:
    """It exists and judges single samples. ValueError that names the key."""
    name = recipe.diagnosis.second_verifier
    if name is None:
        return
    if name not in recipe.verifiers:
        raise ValueError(
            f"diagnosis.second_verifier: '{name}' is not in verifiers{hint(name, recipe.verifiers)}"
        )
    if not recipe.diagnosis.enabled:
        raise ValueError("diagnosis.second_verifier is set, but diagnosis.enabled is false; leave one out")
    if recipe.verifiers[name].name == "majority" or getattr(recipe.verifiers[name], "whole_groups", False):
        raise ValueError(
            f"diagnosis.second_verifier: verifiers.{name} compares a group's samples; it would see one"
        )
    same = [key for key, source in recipe.data.items() if name in first_verifiers(source)]
    if same:
        raise ValueError(
            f"diagnosis.second_verifier is '{name}', which data.{same[0]} is trained on; name another one"
        )


def check_canary(recipe: Recipe) -> None:
    """It is a bench that is evaluated within the run. ValueError that names the key."""
    name = recipe.diagnosis.canary
    if name is None:
        return
    if name not in recipe.eval.benches:
        raise ValueError(
            f"diagnosis.canary: '{name}' is not in eval.benches{hint(name, recipe.eval.benches)}"
        )
    if not recipe.diagnosis.enabled:
        raise ValueError("diagnosis.canary is set, but diagnosis.enabled is false; leave one out")
    if recipe.eval.every is None:
        raise ValueError("diagnosis.canary is set, but eval.every is null, so that no score can rise; set it")


def check_controller(recipe: Recipe) -> None:
    """Every action it may take is possible. ValueError that names the key."""
    if not recipe.controller.enabled:
        return
    if not recipe.diagnosis.enabled:
        raise ValueError("controller.enabled needs diagnosis.enabled: it acts on findings")
    for field in fields(Actions):
        action = getattr(recipe.controller.actions, field.name)
        if missing := _missing(action, recipe):
            raise ValueError(f"controller.actions.{field.name} is {action.value}, but {missing}")


def _missing(action: Action, recipe: Recipe) -> str | None:
    loss = recipe.algorithm.loss
    if action is Action.raise_clip and not hasattr(loss, "clip_ratio_high"):
        return f"algorithm.loss={loss.name} has no clip_ratio_high; choose lower_lr"
    if action is Action.raise_clip and updates_in_step(recipe) == 1:
        return "batch.updates_per_step is 1, so that nothing is ever clipped; choose lower_lr"
    used = any(stage.algorithm.kl.needs_reference for stage in stages_of(recipe))
    if action is Action.reset_reference and not used:
        return "no KL to a reference is measured; choose lower_lr, or algorithm/kl=measured"
    if action is Action.rollback and recipe.checkpoint.every is None:
        return "checkpoint.every is null, so there is nothing to go back to; set it, or choose lower_lr"
    return None
