"""Recipe -> the parts of an RL run, wired together and checked against each other."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from rlvr_cli.algorithms.check import doubts
from rlvr_cli.bench import Questions, positions, verifier_key, with_stops
from rlvr_cli.changes import differences
from rlvr_cli.checkpoint import Checkpoints
from rlvr_cli.controller import fresh_state, reinstate
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.diagnose import make_watch, recall
from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.engine import distributed, rng
from rlvr_cli.engine.critic import Critic
from rlvr_cli.engine.layers import LayerRule
from rlvr_cli.engine.model import context_length, load_tokenizer
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.errors import UserError
from rlvr_cli.heartbeat import heart
from rlvr_cli.loading import load_problems
from rlvr_cli.plan import needs_old_logprobs
from rlvr_cli.renewal import sampling_of, take_values
from rlvr_cli.rollout import Engine, Sampling
from rlvr_cli.schema import Model, Recipe
from rlvr_cli.session import local_model, start_engine, tell_resume
from rlvr_cli.stages import stages_of
from rlvr_cli.stop import Stop, deadline
from rlvr_cli.sync import engine_precision, probe_tokens, self_check
from rlvr_cli.tracking import RolloutRecords, Timer, Tracker
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.silent import Silent
from rlvr_cli.verifiers.pool import Pool

STATEFUL = ("reweight", "reference", "entropy", "gradient")
"""Axes whose options may carry state from step to step."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything a step uses. A checkpoint holds `sampler`, `trainer`, `reference`, `critic` and `state`."""

    recipe: Recipe
    """As it stands in the current stage: an element of `stages`."""
    stages: list[Recipe]
    out: Path
    tokenizer: Any
    trainer: Trainer
    reference: Reference | None
    critic: Critic | None
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
    watch: Watch | None
    """What the diagnosis has seen; rank 0 has it."""
    step: int = 0
    """Finished steps."""
    state: dict[str, Any] = field(
        default_factory=lambda: {
            "stage": 0,
            "last_reset": 0,
            "fresh_optimizer": 0,
            "evaluated": None,
            "empty_steps": 0,
            "response_tokens": 0,
            "first_eval": {},
            "controller": fresh_state(),
        }
    )
    last_eval: dict[str, dict[str, float]] = field(default_factory=dict)
    questions: dict[str, Questions] = field(default_factory=dict)
    """Of each bench, from its first evaluation on."""

    def due(self, every: int | None) -> bool:
        """Whether something done every so many steps is due now; what ends a run is done anyway."""
        return every is not None and self.step % every == 0 and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the steps or the response tokens of the recipe are spent."""
        budget = self.recipe.trainer.response_tokens
        spent = budget is not None and self.state["response_tokens"] >= budget
        return spent or self.step >= self.recipe.trainer.steps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.checkpoints.close()
        self.pool.close()
        self.engine.close()


def positions_needed(recipe: Recipe, model: Model) -> int:
    """Tokens of the longest prompt and response of training and eval; UserError if the model has fewer."""
    responses = [stage.rollout.max_tokens for stage in stages_of(recipe)]
    wanted = max(
        recipe.rollout.max_prompt_tokens + max(responses), positions(recipe.eval.benches, recipe.rollout)
    )
    context = context_length(model)
    if context is not None and wanted > context:
        raise UserError(
            f"the longest prompt (max_prompt_tokens) and response (max_tokens) of rollout and eval.benches "
            f"add up to {wanted} tokens, more than the {context} positions of '{recipe.model.path}'; "
            "lower one, or set model.overrides.max_position_embeddings"
        )
    return wanted


def assemble(recipe: Recipe, tracker: Tracker | Silent) -> Parts:
    """Build all parts of an RL run, check them against each other, and restore the newest checkpoint."""
    out = Path(recipe.out)
    model = local_model(recipe.model, out, recipe.seed)
    tokenizer = load_tokenizer(model)
    room = positions_needed(recipe, model)
    sampler = load_problems(recipe, tokenizer, tracker)
    stages = stages_of(recipe)
    for stage in stages:
        stage.algorithm.shaping.resolve(stage.rollout.max_tokens)
    trainer = Trainer(
        model,
        recipe.trainer,
        tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
        temperature=recipe.rollout.temperature,
        entropy_gradient=recipe.algorithm.entropy.needs_entropy,
        seed=recipe.seed,
        **clipping(recipe.algorithm.gradient),
    )
    critic = make_critic(recipe, model, trainer)
    reference = Reference(model, trainer) if any(s.algorithm.kl.needs_reference for s in stages) else None
    precision = engine_precision(recipe)
    rollout = with_stops(recipe.rollout, recipe.eval.benches)
    engine = start_engine(rollout, model, tokenizer, recipe.seed, precision, room)
    judges = {verifier_key(name): bench.verifier for name, bench in recipe.eval.benches.items()}
    pool = Pool(recipe.verifiers | judges, recipe.verification)
    parts = Parts(
        recipe=stages[0],
        stages=stages,
        out=out,
        tokenizer=tokenizer,
        trainer=trainer,
        reference=reference,
        critic=critic,
        engine=engine,
        pool=pool,
        sampler=sampler,
        sampling=sampling_of(recipe.rollout),
        tracker=tracker,
        records=_records(recipe, out),
        checkpoints=Checkpoints(out, recipe.checkpoint, jsonable(asdict(recipe)), tracker.event),
        stop=Stop(deadline(recipe.checkpoint.must_save_by, os.environ)),
        timer=Timer(on_phase=tracker.phase),
        needs_old=needs_old_logprobs(recipe),
        verifier_weights={name: v.weight for name, v in recipe.verifiers.items()},
        probe_tokens=probe_tokens(trainer.vocabulary, recipe.rollout),
        watch=make_watch(stages),
    )
    warn(recipe, tracker)
    self_check(parts)
    restore(parts)
    return parts


def _records(recipe: Recipe, out: Path) -> RolloutRecords | None:
    if not recipe.tracker.rollouts:
        return None
    return RolloutRecords(out / "rollouts", distributed.rank(), tokens=recipe.tracker.tokens)


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


def warn(recipe: Recipe, tracker: Tracker | Silent) -> None:
    """Say what is allowed but seldom meant."""
    if recipe.rollout.top_p < 1:
        tracker.event(
            "warning",
            "rollout.top_p is below 1: samples come from the renormalised nucleus, the trainer's logprobs "
            "are of the whole distribution; algorithm/mismatch=truncate corrects for that",
        )
    for doubt in doubts(recipe.algorithm, recipe.batch.updates_per_step):
        tracker.event("warning", doubt)


def restore(parts: Parts) -> None:
    """Continue from the newest good checkpoint of the run directory, if there is one."""
    step, damaged = parts.checkpoints.newest_good()
    if step is None:
        parts.tracker.resume_at(None)
        rng.seed(parts.stages[0].seed, distributed.rank())
        return
    state = parts.checkpoints.load(step, parts.trainer, parts.reference, parts.critic)
    parts.step = step
    heart.step(step)
    parts.state |= state["loop"]
    changed = differences(state["recipe"], parts.checkpoints.recipe, step, parts.state["stage"])
    parts.state["stage"] = min(parts.state["stage"], len(parts.stages) - 1)
    take_values(parts, parts.state["stage"])
    parts.sampler.load(state["sampler"], adopt=bool(changed))
    fresh = load_axes(parts, state)
    parts.tracker.resume_at(step)
    recall(parts)
    reinstate(parts)
    tell_resume(parts.tracker, step, damaged, changed)
    if fresh:
        parts.tracker.event("warning", f"another option than before, without its history: {', '.join(fresh)}")
    parts.checkpoints.load_rng(step, parts.stages[0].seed)


def load_axes(parts: Parts, state: dict[str, Any]) -> list[str]:
    """Give options of the algorithm the state they had; returns the axes with another option than then."""
    algorithm, before = parts.recipe.algorithm, state["recipe"]["algorithm"]
    fresh = []
    for axis, saved in state["algorithm"].items():
        option = getattr(algorithm, axis)
        if option.name == before[axis]["name"]:
            option.load(saved)
        else:
            fresh.append(axis)
    return fresh


def save(parts: Parts, *, last: bool = False) -> None:
    """Checkpoint the state after `parts.step` finished steps; all ranks must call it.

    Training may go on while it is written, unless it is the `last`.
    """
    algorithm = parts.recipe.algorithm
    stateful = {a: getattr(algorithm, a) for a in STATEFUL if hasattr(getattr(algorithm, a), "state")}
    state = {
        "sampler": parts.sampler.state(),
        "loop": parts.state,
        "algorithm": {axis: part.state() for axis, part in stateful.items()},
    }
    with parts.timer("checkpoint"):
        parts.checkpoints.save(parts.step, parts.trainer, state, parts.reference, parts.critic, last=last)
