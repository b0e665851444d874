"""Recipe -> the parts of an RL run, wired together and checked against each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rlvr_cli.algorithms.check import doubts, rounding_doubt
from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import sums
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine.critic import Critic
from rlvr_cli.engine.layers import LayerRule
from rlvr_cli.engine.model import context_length, eos_ids, load_tokenizer
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.evaluation.bench import judges_of, with_stops
from rlvr_cli.rollout import Sampling
from rlvr_cli.sampling.environments import Environments
from rlvr_cli.sampling.start_model import check_even, local_model, start_engine
from rlvr_cli.sampling.user_functions import first_asked, introduced, print_into, surroundings
from rlvr_cli.schema import Model, Precision, Recipe
from rlvr_cli.schema.derived import needs_old_logprobs, updates_in_step
from rlvr_cli.schema.lengths import longest, prompt_limit
from rlvr_cli.schema.stages import stages_of
from rlvr_cli.tracking import RolloutRecords, Timer, Tracker
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.ahead import Ahead
from rlvr_cli.training.diagnose import make_watch
from rlvr_cli.training.image_check import check_images
from rlvr_cli.training.make_teacher import check_teacher, make_lessons
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.problems import load_problems
from rlvr_cli.training.rest import rest
from rlvr_cli.training.resume import restore
from rlvr_cli.training.stop import Stop, deadline
from rlvr_cli.training.weight_course import course_of
from rlvr_cli.training.weight_sync import engine_precision, probe_tokens, self_check
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.vision.gallery import FOLDER, Gallery
from rlvr_cli.vision.processor import processor_of
from rlvr_cli.vision.refusals import refuse_unseen


def positions_needed(recipe: Recipe, model: Model) -> int:
    """Tokens of the longest prompt and response of training and eval; UserError if the model has fewer."""
    wanted, context = longest(recipe), context_length(model)
    if context is not None and wanted > context:
        raise UserError(
            f"the longest prompt (max_prompt_tokens) and response (max_tokens) of rollout and eval.benches "
            f"add up to {wanted} tokens, more than the {context} positions of '{recipe.model.path}'; "
            "lower one, or set model.overrides.max_position_embeddings"
        )
    return wanted


def resolved_stages(recipe: Recipe) -> list[Recipe]:
    """The recipe in each of its stages, with the lengths that shaping and trees left open."""
    stages = stages_of(recipe)
    for stage in stages:
        stage.algorithm.shaping.resolve(stage.rollout.max_tokens)
        if hasattr(stage.algorithm.advantage, "branching"):  # stages share their options: each gets its own
            stage.algorithm = replace(stage.algorithm, advantage=replace(stage.algorithm.advantage))
            stage.algorithm.advantage.resolve(stage.rollout.max_tokens)
    return stages


def longest_prompt(recipe: Recipe) -> int:
    """Tokens of the longest prompt of training and eval."""
    limits = [prompt_limit(bench, recipe.rollout) for bench in recipe.eval.benches.values()]
    return max(recipe.rollout.max_prompt_tokens, *limits, 0)


def assemble(recipe: Recipe, tracker: Tracker | NullTracker) -> Parts:
    """Build all parts of an RL run, check them against each other, and restore the newest checkpoint."""
    out, stages = Path(recipe.out), resolved_stages(recipe)
    model = local_model(recipe.model, out, recipe.seed)
    tokenizer, room = load_tokenizer(model), positions_needed(recipe, model)
    refuse_unseen(recipe, tokenizer)
    check_even(recipe.rollout, model)
    environments = Environments.of(recipe.environments, recipe.eval.benches, tokenizer, out)
    sampler = load_problems(recipe, tokenizer, tracker, environments)
    on_server = check_teacher(recipe, model, tokenizer, room, tracker.event, sampler)
    trainer = make_policy(recipe, model)
    course = course_of(model, recipe.trainer, tracker.event)
    critic = make_critic(recipe, model, trainer)
    reference = Reference(model, trainer) if any(s.algorithm.kl.needs_reference for s in stages) else None
    lessons = make_lessons(recipe, model, tokenizer, trainer, on_server)
    rollout = with_stops(recipe.rollout, recipe.eval.benches, environments.stops())
    probe = probe_tokens(sampler, recipe.rollout)
    expected = rest(recipe.trainer, trainer, (critic, reference, lessons), probe)  # before the engine
    engine = start_engine(
        rollout, model, tokenizer, recipe.seed, engine_precision(recipe), room, out, tracker.event
    )
    engine = environments.engine(engine, tokenizer, eos_ids(model.path, tokenizer), longest_prompt(recipe))
    parts = Parts(
        recipe=stages[0],
        stages=stages,
        environments=environments,
        out=out,
        tokenizer=tokenizer,
        trainer=trainer,
        reference=reference,
        critic=critic,
        lessons=lessons,
        engine=engine,
        pool=make_pool(recipe, tokenizer, sampler, tracker),
        sampler=sampler,
        sampling=Sampling.of(recipe.rollout, logprobs=True, routes=recipe.rollout.routing_replay.recorded),
        tracker=tracker,
        records=_records(recipe, out, tokenizer),
        checkpoints=Checkpoints(out, recipe.checkpoint, jsonable(asdict(recipe)) | sums(out), tracker.event),
        stop=Stop(deadline(recipe.checkpoint.must_save_by, os.environ)),
        timer=Timer(on_phase=tracker.phase),
        needs_old=needs_old_logprobs(recipe),
        verifier_weights={name: v.weight for name, v in recipe.verifiers.items()},
        probe_tokens=probe,
        expected=expected,
        course=course,
        watch=make_watch(stages),
        ahead=Ahead(rollout, engine, tracker, processor_of(tokenizer)) if rollout.max_staleness else None,
    )
    warn(recipe, tracker, sampler)
    check_images(parts)
    self_check(parts)
    restore(parts)
    return parts


def make_policy(recipe: Recipe, model: Model) -> Trainer:
    """What is trained."""
    return Trainer(
        model,
        recipe.trainer,
        tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
        temperature=recipe.rollout.temperature,
        entropy_gradient=recipe.algorithm.entropy.needs_entropy,
        seed=recipe.seed,
        routing=recipe.rollout.routing_replay,
        **clipping(recipe.algorithm.gradient),
    )


def make_pool(recipe: Recipe, tokenizer: Any, sampler: Sampler, tracker: Tracker | NullTracker) -> Pool:
    """The verifiers of the run and of its benches; the user's own functions are introduced."""
    verifiers = recipe.verifiers | judges_of(recipe.eval.benches)
    print_into(verifiers, Path(recipe.out) / "logs", f"rank{distributed.rank()}")
    around = surroundings(tokenizer, recipe.trainer.steps, recipe.seed, recipe.verifiers)
    pool = Pool(verifiers, recipe.verification, around=around)
    if distributed.rank() == 0:
        first = first_asked(sampler.items, recipe.batch.group_size)
        for line in introduced(verifiers, first, pool, recipe.verification):
            tracker.event("verifier", line)
    return pool


def repeats(sampler: Sampler[Any], prompts: int) -> Iterator[str]:
    """Sources that give the same problem to a step more than once."""
    for name, items in sampler.items.items():
        share = prompts * sampler.share[name]
        if share > len(items):
            yield (
                f"batch.prompts_per_step takes {share:.0f} prompts a step from data.{name}, which has "
                f"{len(items)} problems: each comes about {share / len(items):.1f} times in a step"
            )


def _records(recipe: Recipe, out: Path, tokenizer: Any) -> RolloutRecords | None:
    if not recipe.tracker.rollouts:
        return None
    folder, most = out / "rollouts", recipe.tracker.images
    gallery = Gallery(folder / FOLDER, -(-most // distributed.world_size()), processor_of(tokenizer))
    return RolloutRecords(folder, distributed.rank(), tokens=recipe.tracker.tokens, images=gallery.shown)


def make_critic(recipe: Recipe, model: Model, trainer: Trainer) -> Critic | None:
    """The value model, where the advantages need one; it starts as the policy unless a path is given."""
    if not recipe.algorithm.advantage.needs_critic:
        return None
    if recipe.critic.path is not None:
        given = replace(model, path=recipe.critic.path, revision=None)
        model = local_model(given, Path(recipe.out), recipe.seed)
    return Critic(
        model,
        recipe.critic,
        recipe.trainer,
        tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
        vocabulary=trainer.vocabulary,
        seed=recipe.seed,
    )


def clipping(gradient: Any) -> dict[str, Any]:
    """What the trainer has to know: DeepSpeed clips globally, unless the option scales layer by layer."""
    more = {"log_layers": gradient.log_layers, "spikes": gradient if gradient.localise else None}
    if not gradient.needs_layer_norms:
        return {"max_grad_norm": gradient.max_norm or 0.0} | more

    def rule(norms: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        factors = gradient(norms)
        return factors, {"clipped_layers": float(gradient.clipped)}

    layer_rule: LayerRule = rule
    return {"max_grad_norm": 0.0, "layer_rule": layer_rule} | more


def warn(recipe: Recipe, tracker: Tracker | NullTracker, sampler: Sampler[Any]) -> None:
    """Say what is allowed but seldom meant."""
    if recipe.rollout.top_p < 1:
        tracker.event(
            "warning",
            "rollout.top_p is below 1: samples come from the renormalised nucleus, the trainer's logprobs "
            "are of the whole distribution; algorithm/mismatch=truncate corrects for that",
        )
    found = [*doubts(recipe.algorithm, updates_in_step(recipe), recipe.rollout.max_staleness)]
    if Precision.bf16 in (recipe.trainer.precision, engine_precision(recipe)):
        longest = max(stage.rollout.max_tokens for stage in stages_of(recipe))
        updates = updates_in_step(recipe)
        found += rounding_doubt(recipe.algorithm, updates_per_step=updates, max_tokens=longest)
    for doubt in (*found, *repeats(sampler, recipe.batch.prompts_per_step)):
        tracker.event("warning", doubt)
