"""Numbers that follow from a recipe, printed before a run starts and by --dry-run."""

from __future__ import annotations

from rlvr_cli.schema import EvalRecipe, Recipe, Schedule, SFTRecipe, Trainer


def derive(recipe: Recipe | SFTRecipe | EvalRecipe) -> dict[str, str]:
    """What is derived -> how it comes about, in the order of interest."""
    if isinstance(recipe, EvalRecipe):
        return {
            f"bench {name}": f"{bench.k} samples a problem, up to {bench.max_tokens:,} tokens each"
            for name, bench in recipe.benches.items()
        }
    numbers = _rl(recipe) if isinstance(recipe, Recipe) else _sft(recipe)
    ranks = recipe.trainer.ranks
    return numbers | {
        "learning rate": _learning_rate(recipe.trainer),
        "ranks": str(ranks) if ranks else "one per GPU, or 1 without",
        "run directory": recipe.out,
    }


def _rl(recipe: Recipe) -> dict[str, str]:
    batch, rollout, steps = recipe.batch, recipe.rollout, recipe.trainer.steps
    samples = batch.prompts_per_step * batch.group_size
    response_tokens = samples * rollout.max_tokens
    training_tokens = samples * (rollout.max_prompt_tokens + rollout.max_tokens)
    on_policy = "on-policy" if batch.updates_per_step == 1 else f"{batch.updates_per_step} updates a step"
    return {
        "samples per step": f"{batch.prompts_per_step} prompts x {batch.group_size} = {samples:,}",
        "sequences per update": f"{samples // batch.updates_per_step:,} ({on_policy})",
        "updates": f"{steps:,} steps x {batch.updates_per_step} = {steps * batch.updates_per_step:,}",
        "prompts trained on": f"{steps * batch.prompts_per_step:,}, repeats included",
        "tokens per step": f"at most {response_tokens:,} generated, {training_tokens:,} trained",
    }


def _sft(recipe: SFTRecipe) -> dict[str, str]:
    examples, steps = recipe.batch.examples_per_step, recipe.trainer.steps
    return {
        "examples per update": f"{examples:,}",
        "updates": f"{steps:,}",
        "examples trained on": f"{steps * examples:,}, repeats included",
        "tokens per update": f"at most {examples * recipe.algorithm.max_length:,}",
    }


def _learning_rate(trainer: Trainer) -> str:
    rise = f"0 to {trainer.lr:g} over {trainer.warmup_steps} steps, then " if trainer.warmup_steps else ""
    if trainer.schedule is Schedule.constant:
        return f"{rise}constant" if rise else f"constant {trainer.lr:g}"
    fall = f"{trainer.schedule.value} to {trainer.min_lr:g} at step {trainer.steps:,}"
    return (rise or f"{trainer.lr:g}, ") + fall
