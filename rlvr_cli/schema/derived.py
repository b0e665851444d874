"""Numbers that follow from a recipe, printed before a run starts and by --dry-run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlvr_cli.schema import (
    Context,
    DistillationRecipe,
    EvalRecipe,
    ExperienceRecipe,
    LibraryForm,
    Placement,
    PreferenceRecipe,
    Recipe,
    Schedule,
    SFTRecipe,
    Trainer,
)
from rlvr_cli.schema.stages import describe, stages_of


def derive(recipe: Recipe | SFTRecipe | EvalRecipe) -> dict[str, str]:
    """What is derived -> how it comes about, in the order of interest."""
    if isinstance(recipe, ExperienceRecipe):
        return _experience(recipe)
    if isinstance(recipe, EvalRecipe):
        return {
            f"bench {name}": f"{bench.k} samples a problem, up to {bench.max_tokens:,} tokens each"
            for name, bench in recipe.benches.items()
        }
    numbers = _rl(recipe) if isinstance(recipe, Recipe) else _sft(recipe)
    ranks, shared = recipe.trainer.ranks, recipe.trainer.sequence_parallel
    return (
        numbers
        | {"learning rate": _learning_rate(recipe.trainer)}
        | ({"each micro-batch": f"on {shared} ranks together"} if shared > 1 else {})
        | {"ranks": str(ranks) if ranks else "one per GPU, or 1 without", "run directory": recipe.out}
    )


def _experience(recipe: ExperienceRecipe) -> dict[str, str]:
    batch, algorithm = recipe.batch, recipe.algorithm
    rollouts = batch.prompts_per_step * batch.group_size
    of_group = 1 if algorithm.form is LibraryForm.merge else 2
    edits = rollouts + of_group * batch.prompts_per_step + 1
    calls = algorithm.steps * (rollouts + edits)
    limits = [
        f"{limit:,} {what}"
        for limit, what in ((algorithm.call_budget, "calls"), (algorithm.token_budget, "tokens"))
        if limit is not None
    ]
    return {
        "rollouts per step": f"{batch.prompts_per_step} problems x {batch.group_size} = {rollouts:,}",
        "edits per step": f"at most {edits:,} calls where no answer has to be asked for again",
        "calls": f"at most {calls:,} in {algorithm.steps} steps; groups that agree need no edits",
        "budget": ", ".join(limits) or "none",
        "run directory": recipe.out,
    }


def updates_in_step(recipe: Recipe) -> int:
    """Optimizer updates of a step: of each part of its samples one, or one for each pass over its tokens."""
    return recipe.batch.updates_per_step * getattr(recipe.algorithm.token_weights, "passes", 1)


def needs_old_logprobs(recipe: Recipe) -> bool:
    """Whether the policy at the start of a step scores its samples before the updates."""
    a = recipe.algorithm
    return (
        (recipe.batch.updates_per_step > 1 and a.mismatch.recomputes)
        or a.mismatch.needs_old_logprobs
        or a.token_weights.needs_entropy
        or a.token_weights.needs_old_logprobs
        or a.kl.in_reward
        or any(getattr(part, "needs_old_logprobs", False) for part in (a.advantage, a.reweight, a.loss))
        or a.distillation.in_reward
    )


def _rl(recipe: Recipe) -> dict[str, str]:
    batch, steps = recipe.batch, recipe.trainer.steps
    samples = batch.prompts_per_step * batch.group_size
    begins = [0, *(min(stage.after, steps) for stage in recipe.stages.values()), steps]
    staged = list(zip(stages_of(recipe), begins, begins[1:], strict=False))
    prompts = sum((end - begin) * stage.batch.prompts_per_step for stage, begin, end in staged)
    response_tokens, training_tokens = map(max, zip(*(_tokens(stage) for stage, _, _ in staged), strict=True))
    made = updates_in_step(recipe)
    on_policy = "on-policy" if made == 1 else f"{made} updates a step"
    return {
        "samples per step": f"{batch.prompts_per_step} prompts x {batch.group_size} = {samples:,}",
        "sequences per update": f"{samples // batch.updates_per_step:,} ({on_policy})",
        "updates": f"{steps:,} steps x {made} = {steps * made:,}",
        "prompts trained on": f"{prompts:,}, repeats included",
        "tokens per step": f"at most {response_tokens:,} generated, {training_tokens:,} trained",
        **_servers(recipe),
        **_states(recipe),
        **_tree(recipe),
        **_ahead(recipe),
        **_stages(recipe),
        **_renewals(recipe),
        **_critic(recipe),
        **_teacher(recipe),
        **_preflight(recipe),
    }


def _preflight(recipe: Recipe) -> dict[str, str]:
    if recipe.preflight.enabled is False:
        return {}
    said = f"{recipe.preflight.prompts} prompts before the first step"
    if not recipe.preflight.wanted(recipe.trainer.steps):
        said = "a brief look before the first step, where data, verifiers or model are new here"
    return {"preflight": said}


def _tokens(recipe: Recipe) -> tuple[int, int]:
    """Tokens a step generates and trains at most."""
    samples, response = recipe.batch.prompts_per_step * recipe.batch.group_size, recipe.rollout.max_tokens
    sampled = samples * response
    if (tree := _grown(recipe)) is not None:
        sampled = recipe.batch.prompts_per_step * tree.most_tokens(response)
    return sampled, samples * (recipe.rollout.max_prompt_tokens + response)


def _servers(recipe: Recipe) -> dict[str, str]:
    """Where samples come from, unless it is the ranks themselves."""
    rollout = recipe.rollout
    if rollout.placement is Placement.in_process:
        return {}
    if rollout.servers.urls:
        return {"rollout servers": ", ".join(rollout.servers.urls)}
    width = rollout.tensor_parallel
    gpus = f", of {width} GPUs each" if width > 1 else ""
    return {"rollout servers": f"{rollout.servers.started(width)} on each machine{gpus}, beside the ranks"}


def _states(recipe: Recipe) -> dict[str, str]:
    """What advantage=segment samples besides: how much depends on the responses."""
    rule = recipe.algorithm.advantage
    if not hasattr(rule, "boundaries"):
        return {}
    per = f"every {rule.interval} tokens" + ("" if rule.fixed else f" below a probability of {rule.rho:g}")
    return {"values of states": f"{rule.samples} continuations for {per}, generated besides"}


def _grown(recipe: Recipe) -> Any:
    """The advantage whose groups are trees, its lengths filled in; None: they are not."""
    rule = recipe.algorithm.advantage
    if not hasattr(rule, "branching"):
        return None
    rule = replace(rule)
    rule.resolve(recipe.rollout.max_tokens)
    return rule


def _tree(recipe: Recipe) -> dict[str, str]:
    """How the tree of a prompt grows."""
    if (rule := _grown(recipe)) is None:
        return {}
    shape = " x ".join(map(str, rule.branching))
    limits = [rule.limit(level, recipe.rollout.max_tokens) for level in range(len(rule.branching))]
    grown = f"{shape} = {rule.leaves} leaves, segments of {', '.join(map(str, limits))} tokens"
    return {"tree of a prompt": grown + (f", at most about {rule.budget:,} in all" if rule.budget else "")}


def _ahead(recipe: Recipe) -> dict[str, str]:
    """How far sampling may run ahead of training."""
    steps, prompts = recipe.rollout.max_staleness, recipe.batch.prompts_per_step
    if not steps:
        return {}
    most = f"at most {(steps + 1) * prompts:,} prompts in flight"
    how = f"{recipe.rollout.overlap.value} updates"
    return {"sampled ahead": f"up to {steps} step{'s' if steps > 1 else ''}, {how}: {most}"}


def _stages(recipe: Recipe) -> dict[str, str]:
    """When each stage begins and ends, and what it changes."""
    steps, stages = recipe.trainer.steps, recipe.stages
    ends = [*(stage.after for stage in stages.values()), steps][1:]
    lines = {}
    for (name, stage), end in zip(stages.items(), ends, strict=True):
        when = f"steps {stage.after + 1:,} to {min(end, steps):,}"
        if stage.after >= steps:
            when = f"never (it begins after step {stage.after:,}, trainer.steps is {steps:,})"
        lines[f"stage {name}"] = f"{when}: {describe(stage)}"
    return lines


def _renewals(recipe: Recipe) -> dict[str, str]:
    rule = recipe.algorithm.reference
    if not rule.resets:
        return {}
    causes = [f"every {rule.every:,} steps"] if rule.every else []
    causes += [f"when the KL exceeds {rule.kl_above:g}"] if rule.kl_above else []
    if rule.patience:
        bench = rule.bench or next(iter(recipe.eval.benches))
        causes.append(f"after {rule.patience} evaluations of {bench} without improvement")
    what = "reference and optimizer" if rule.reset_optimizer else "reference"
    return {"resets": f"{what} {', '.join(causes)}"}


def _critic(recipe: Recipe) -> dict[str, str]:
    if not recipe.algorithm.advantage.needs_critic:
        return {}
    lr, alone = recipe.critic.rate(recipe.trainer), recipe.critic.pretrain_steps
    return {"critic": f"learning rate {lr:g}" + (f"; trained alone for {alone:,} steps" if alone else "")}


def _teacher(recipe: Recipe | DistillationRecipe) -> dict[str, str]:
    option, teacher = recipe.algorithm.distillation, recipe.teacher
    if not option.needs_teacher:
        return {}
    who = teacher.path or teacher.url or f"the policy ({teacher.policy.value})"  # type: ignore[union-attr]
    knows = "" if teacher.context is Context.none else f", with a {teacher.context.value} in its prompt"
    task = "verifiers teach" if isinstance(recipe, Recipe) else "right tokens teach"
    alone = f"; the {task} nothing" if option.task_coef == 0 else ""
    return {"teacher": f"{who}{knows}, as {option.name}{alone}"}


def _sft(recipe: SFTRecipe) -> dict[str, str]:
    examples, steps = recipe.batch.examples_per_step, recipe.trainer.steps
    what, each = "examples", 1
    if isinstance(recipe, PreferenceRecipe):
        what, each = ("answers", 1) if recipe.algorithm.preference.unpaired else ("pairs", 2)
    return {
        f"{what} per update": f"{examples:,}",
        "updates": f"{steps:,}",
        f"{what} trained on": f"{steps * examples:,}, repeats included",
        "tokens per update": f"at most {each * examples * recipe.algorithm.max_length:,}",
    } | (_teacher(recipe) if isinstance(recipe, DistillationRecipe) else {})


def _learning_rate(trainer: Trainer) -> str:
    rise = f"0 to {trainer.lr:g} over {trainer.warmup_steps} steps, then " if trainer.warmup_steps else ""
    if trainer.schedule is Schedule.constant:
        return f"{rise}constant" if rise else f"constant {trainer.lr:g}"
    fall = f"{trainer.schedule.value} to {trainer.min_lr:g} at step {trainer.steps:,}"
    return (rise or f"{trainer.lr:g}, ") + fall
