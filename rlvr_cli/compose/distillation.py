"""A teacher and an axis that uses it: what of the two cannot go together."""

from __future__ import annotations

from typing import Any

from rlvr_cli.algorithms.divergence import Kind
from rlvr_cli.schema import Context, DistillationRecipe, Recipe, TeacherPolicy


def check_distillation(recipe: Recipe) -> None:
    """Raise ValueError for the first thing that does not fit."""
    option, teacher = recipe.algorithm.distillation, recipe.teacher
    if not option.needs_teacher:
        _check_unused(recipe)
        return
    _check_taught(recipe, "choose algorithm/distillation=none")
    if option.in_loss and recipe.trainer.sequence_parallel > 1:
        raise ValueError(
            f"algorithm.distillation=loss compares whole rows, and trainer.sequence_parallel is "
            f"{recipe.trainer.sequence_parallel}; set it to 1, or choose algorithm/distillation=reward"
        )
    _check_context(recipe)
    if teacher.url is not None:
        _check_server(option, recipe.rollout.temperature)


def check_on_data(recipe: DistillationRecipe) -> None:
    """Raise ValueError for the first thing that does not fit where a teacher reads data."""
    name, option, teacher = recipe.algorithm.name, recipe.algorithm.distillation, recipe.teacher
    if not option.in_loss:
        raise ValueError(
            f"algorithm.distillation={option.name}: {name} compares distributions on data, where nothing is "
            "sampled; choose algorithm/distillation=loss, or `rlvr sft` without a teacher"
        )
    _check_taught(recipe, "train with `rlvr sft`")
    if option.ratio_cap is not None:
        raise ValueError(
            f"algorithm.distillation.ratio_cap is {option.ratio_cap:g}; it must be null: it caps the ratio "
            "to the policy that has sampled a token, and the tokens are data"
        )
    if teacher.policy in (TeacherPolicy.live, TeacherPolicy.ema):
        raise ValueError(
            f"teacher.policy={teacher.policy.value} follows a policy that learns from its own samples; on "
            "data set teacher.path, teacher.url or teacher.policy=start"
        )
    if teacher.context is not Context.none:
        raise ValueError(
            f"teacher.context={teacher.context.value} is for the policy's own samples; on data the teacher "
            "reads the example: set teacher.context=none"
        )
    if recipe.trainer.sequence_parallel > 1:
        raise ValueError(
            f"{name} compares whole rows, and trainer.sequence_parallel is "
            f"{recipe.trainer.sequence_parallel}; set it to 1"
        )
    if teacher.url is not None:
        _check_server(option, 1.0)


def _check_taught(recipe: Recipe | DistillationRecipe, otherwise: str) -> None:
    """There is a teacher, and it teaches. `otherwise`: what to do where neither is meant."""
    if not recipe.teacher.given:
        raise ValueError(
            f"algorithm.distillation={recipe.algorithm.distillation.name} needs a teacher; set teacher.path, "
            f"teacher.policy or teacher.url, or {otherwise}"
        )
    for key, source in recipe.data.items():
        if not source.teacher_weight >= 0:
            raise ValueError(f"data.{key}.teacher_weight is {source.teacher_weight}; it must be at least 0")
    if all(source.teacher_weight == 0 for source in recipe.data.values()):
        raise ValueError(
            "data.<source>.teacher_weight is 0 for every source, so that the teacher teaches nothing; "
            f"{otherwise}"
        )


def check_unheard(recipe: Any) -> None:
    """Raise ValueError for a weight of the teacher where nothing is taught: in fine-tuning, and in
    benches."""
    taught = isinstance(recipe, Recipe | DistillationRecipe)
    found = {f"data.{key}": source for key, source in getattr(recipe, "data", {}).items() if not taught}
    benches = recipe.eval.benches if isinstance(recipe, Recipe) else getattr(recipe, "benches", {})
    found |= {f"benches.{key}.source": bench.source for key, bench in benches.items()}
    if (source := getattr(getattr(recipe, "eval", None), "source", None)) is not None:
        found["eval.source"] = source
    for key, source in found.items():
        if source.teacher_weight != 1:
            raise ValueError(f"{key}.teacher_weight is set, and no teacher is asked here; leave it out")


def _check_unused(recipe: Recipe) -> None:
    if recipe.teacher.given:
        raise ValueError(
            "teacher is set, and algorithm.distillation=none does not use it; choose "
            "algorithm/distillation=reward "
            "or algorithm/distillation=loss"
        )
    for key, source in recipe.data.items():
        if source.teacher_weight != 1:
            raise ValueError(
                f"data.{key}.teacher_weight is set, and there is no teacher; choose "
                "algorithm/distillation=reward or "
                "algorithm/distillation=loss"
            )


def _check_context(recipe: Recipe) -> None:
    teacher = recipe.teacher
    if teacher.context is Context.none:
        if teacher.policy is TeacherPolicy.live:
            raise ValueError(
                "teacher.policy=live reads what the policy reads and is the policy: it has nothing to "
                "teach; set "
                "teacher.context, or another teacher"
            )
        return
    for key, source in recipe.data.items():
        if source.environment is not None:
            raise ValueError(
                f"teacher.context={teacher.context.value} puts another prompt before an answer, and "
                f"data.{key} is "
                "played in turns; set teacher.context=none"
            )
    if teacher.context is Context.sibling and recipe.batch.group_size < 2:
        raise ValueError(
            f"teacher.context=sibling shows another answer of the group, and batch.group_size is "
            f"{recipe.batch.group_size}; it must be at least 2"
        )


def _check_server(option: Any, temperature: float) -> None:
    """A server gives logprobs at temperature 1, of the sampled token and of its own k most probable ones."""
    if temperature != 1:
        raise ValueError(
            f"rollout.temperature is {temperature:g}, and a teacher on a server knows its logprobs at 1 "
            "alone; set "
            "rollout.temperature=1, or teacher.path"
        )
    if not option.in_loss:
        return
    if option.top_k is None:
        raise ValueError(
            "algorithm.distillation.top_k is null, the whole vocabulary, and a teacher on a server gives "
            "its most "
            "probable tokens alone; set algorithm.distillation.top_k, or teacher.path"
        )
    if not option.of_teacher:
        what = "reverse" if option.divergence is Kind.reverse else "jensen_shannon"
        raise ValueError(
            f"algorithm.distillation.divergence={what} compares the policy's most probable tokens, and a "
            "teacher on a "
            "server gives its own alone; set algorithm.distillation.divergence=forward, support=teacher, or "
            "teacher.path"
        )
