"""Recipe -> the parts of an RL run, wired together and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rlvr_cli.checkpoint import Checkpoints
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine import distributed
from rlvr_cli.engine.model import context_length, load_tokenizer
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.errors import UserError
from rlvr_cli.evaluate import verifier_key
from rlvr_cli.rollout import Engine, Sampling
from rlvr_cli.schema import Model, Recipe
from rlvr_cli.session import local_model, start_engine
from rlvr_cli.stop import Stop
from rlvr_cli.sync import engine_precision, probe_tokens, self_check
from rlvr_cli.tracking import RolloutRecords, Timer, Tracker
from rlvr_cli.tracking.silent import Silent
from rlvr_cli.verifiers.pool import Pool

STATEFUL = ("reweight", "entropy", "gradient")
"""Axes whose options may carry state from step to step."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything a step uses. `sampler`, `trainer`, `reference` and `state` are what a checkpoint holds."""

    recipe: Recipe
    out: Path
    tokenizer: Any
    trainer: Trainer
    reference: Reference | None
    engine: Engine
    pool: Pool
    sampler: Sampler
    sampling: Sampling
    tracker: Tracker | Silent
    records: RolloutRecords | None
    checkpoints: Checkpoints
    stop: Stop
    timer: Timer
    needs_old: bool
    """Logprobs under the policy at the start of the step are computed before the updates."""
    verifier_weights: dict[str, float]
    probe_tokens: list[int]
    step: int = 0
    """Finished steps."""
    state: dict[str, Any] = field(
        default_factory=lambda: {"last_reset": 0, "empty_steps": 0, "first_eval": {}}
    )
    last_eval: dict[str, dict[str, float]] = field(default_factory=dict)

    def due(self, every: int | None) -> bool:
        """Whether something done every so many steps is due now; what ends a run is done anyway."""
        return every is not None and self.step % every == 0 and self.step < self.recipe.trainer.steps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.pool.close()
        self.engine.close()


def load_problems(recipe: Recipe, tokenizer: Any, tracker: Tracker | Silent) -> Sampler:
    """Problems of every source, mixed by weight; what was left out is said."""
    by_source = {}
    for name, source in recipe.data.items():
        by_source[name], report = problems(
            name, source, tokenizer, recipe.rollout.max_prompt_tokens, recipe.seed
        )
        tracker.event("data", str(report))
    return Sampler(by_source, {n: s.weight for n, s in recipe.data.items()}, seed=recipe.seed)


def needs_old_logprobs(recipe: Recipe) -> bool:
    a = recipe.algorithm
    return (
        recipe.batch.updates_per_step > 1
        or a.token_weights.needs_entropy
        or a.token_weights.needs_old_logprobs
        or a.kl.in_reward
    )


def positions_needed(recipe: Recipe, model: Model) -> int:
    """Tokens of the longest prompt and response of training and eval; UserError if the model has fewer."""
    longest = max([recipe.rollout.max_tokens, *(b.max_tokens for b in recipe.eval.benches.values())])
    positions = recipe.rollout.max_prompt_tokens + longest
    context = context_length(model)
    if context is not None and positions > context:
        raise UserError(
            f"rollout.max_prompt_tokens ({recipe.rollout.max_prompt_tokens}) and responses of {longest} "
            f"tokens add up to more than the {context} positions of '{recipe.model.path}'; "
            "lower one, or set model.overrides.max_position_embeddings"
        )
    return positions


def assemble(recipe: Recipe, tracker: Tracker | Silent) -> Parts:
    """Build all parts of an RL run, check them against each other, and restore the newest checkpoint."""
    out = Path(recipe.out)
    model = local_model(recipe.model, out, recipe.seed)
    tokenizer = load_tokenizer(model)
    positions = positions_needed(recipe, model)
    sampler = load_problems(recipe, tokenizer, tracker)
    recipe.algorithm.shaping.resolve(recipe.rollout.max_tokens)
    trainer = Trainer(
        model,
        recipe.trainer,
        tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
        max_grad_norm=recipe.algorithm.gradient.max_norm or 0.0,
        temperature=recipe.rollout.temperature,
        entropy_gradient=recipe.algorithm.entropy.needs_entropy,
        seed=recipe.seed,
    )
    reference = Reference(model, trainer) if recipe.algorithm.kl.needs_reference else None
    precision = engine_precision(recipe)
    engine = start_engine(recipe.rollout, model, tokenizer, recipe.seed, precision, positions)
    judges = {verifier_key(name): bench.verifier for name, bench in recipe.eval.benches.items()}
    pool = Pool(recipe.verifiers | judges, recipe.verification)
    parts = Parts(
        recipe=recipe,
        out=out,
        tokenizer=tokenizer,
        trainer=trainer,
        reference=reference,
        engine=engine,
        pool=pool,
        sampler=sampler,
        sampling=Sampling(
            temperature=recipe.rollout.temperature,
            top_p=recipe.rollout.top_p,
            max_tokens=recipe.rollout.max_tokens,
            stop=list(recipe.rollout.stop),
        ),
        tracker=tracker,
        records=RolloutRecords(out / "rollouts", distributed.rank()) if recipe.tracker.rollouts else None,
        checkpoints=Checkpoints(out, recipe.checkpoint.keep),
        stop=Stop(),
        timer=Timer(on_phase=tracker.phase),
        needs_old=needs_old_logprobs(recipe),
        verifier_weights={name: v.weight for name, v in recipe.verifiers.items()},
        probe_tokens=probe_tokens(trainer.vocabulary, recipe.rollout),
    )
    warn(recipe, tracker)
    self_check(parts)
    restore(parts)
    return parts


def warn(recipe: Recipe, tracker: Tracker | Silent) -> None:
    """Say what is allowed but seldom meant."""
    if recipe.rollout.top_p < 1:
        tracker.event(
            "warning",
            "rollout.top_p is below 1: samples come from the renormalised nucleus, the trainer's logprobs "
            "are of the whole distribution; algorithm/mismatch=truncate corrects for that",
        )


def restore(parts: Parts) -> None:
    """Continue from the newest checkpoint of the run directory, if there is one."""
    step = parts.checkpoints.latest()
    if step is None:
        return
    state = parts.checkpoints.load(step, parts.trainer, parts.reference)
    parts.step = step
    parts.sampler.load(state["sampler"])
    parts.state = state["loop"]
    for axis, saved in state["algorithm"].items():
        getattr(parts.recipe.algorithm, axis).load(saved)
    parts.tracker.resume_at(step)
    parts.tracker.event("resume", f"continuing after step {step}")


def save(parts: Parts) -> None:
    """Checkpoint the state after `parts.step` finished steps; all ranks must call it."""
    algorithm = parts.recipe.algorithm
    stateful = {a: getattr(algorithm, a) for a in STATEFUL if hasattr(getattr(algorithm, a), "state")}
    state = {
        "sampler": parts.sampler.state(),
        "loop": parts.state,
        "algorithm": {axis: part.state() for axis, part in stateful.items()},
    }
    parts.checkpoints.save(parts.step, parts.trainer, state, parts.reference)
    parts.tracker.event("checkpoint", f"saved step {parts.step}")
