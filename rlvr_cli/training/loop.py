"""Reinforcement learning from verifiable rewards, on one page."""

from __future__ import annotations

from functools import partial
from typing import Any, TextIO

from torch import Tensor

from rlvr_cli.algorithms.objective import critic_loss, policy_loss, teacher_loss
from rlvr_cli.core.types import Batch, Group
from rlvr_cli.engine import process_group
from rlvr_cli.engine.critic import critic_settings
from rlvr_cli.engine.nonfinite import NonFinite
from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.preflight.examine import preflight
from rlvr_cli.schema import Recipe
from rlvr_cli.training.assemble import assemble
from rlvr_cli.training.batches import make_batches
from rlvr_cli.training.careful_update import careful_update, recover
from rlvr_cli.training.contexts import teacher_prompts
from rlvr_cli.training.controller import stabilise
from rlvr_cli.training.difficulty import observe
from rlvr_cli.training.dynamic_sampling import sample_groups
from rlvr_cli.training.ending import conclude, interrupted
from rlvr_cli.training.evaluations import evaluate_benches, evaluation_due
from rlvr_cli.training.kl_course import begin_kl, observe_kl
from rlvr_cli.training.metrics import mean
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.record import record, record_unjudged
from rlvr_cli.training.resets import renew_reference
from rlvr_cli.training.resume import save
from rlvr_cli.training.rubrics import evolve_rubrics
from rlvr_cli.training.sample_ahead import sample_ahead
from rlvr_cli.training.silent_teacher import taken_back
from rlvr_cli.training.stage_changes import enter_stage
from rlvr_cli.training.stop import Interrupted, NoVerdict
from rlvr_cli.training.taught import ask_first, beside, follow
from rlvr_cli.training.token_records import noted
from rlvr_cli.training.tracker import open_tracker
from rlvr_cli.training.unjudged import keep_and_tell
from rlvr_cli.training.weight_sync import sync


def rl(recipe: Recipe, terminal: TextIO) -> bool:
    """Train the policy of `recipe`; every rank calls it. Ends with the exported model in `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    process_group.initialise(recipe.faults.hang_s)
    with open_tracker(recipe, terminal, kind="rl") as tracker, assemble(recipe, tracker) as parts:
        try:
            preflight(parts)
            sync(parts)
            if evaluation_due(parts):
                evaluate_benches(parts)
            enter_stage(parts)  # one that was added to a finished run
            while not parts.ended:
                parts.stop.before_step(parts.checkpoints.seconds)
                try:
                    train_step(parts)
                except NonFinite as error:
                    recover(parts, error)
                    continue
                enter_stage(parts)
                stabilise(parts)
                if evaluation_due(parts):
                    evaluate_benches(parts)
                if parts.due(recipe.checkpoint.every):
                    save(parts)
            if recipe.eval.at_end:
                evaluate_benches(parts)
        except Interrupted:
            interrupted(parts)
            return False
        except NoVerdict as error:
            keep_and_tell(parts, error)
            raise
        else:
            conclude(parts)
    return True


def train_step(parts: Parts) -> None:
    """Sample, verify, filter, estimate advantages, update, sync, record."""
    algorithm, step, timer = parts.recipe.algorithm, parts.step, parts.timer
    begin_kl(algorithm.kl, step, parts.recipe.trainer.steps)

    ahead = parts.ahead
    with taken_back(parts):
        rollouts = sample_groups(parts, step) if ahead is None else sample_ahead(parts, ahead, step)
        parts.engine.sleep()
        if rollouts.unjudged is not None:
            record_unjudged(parts, rollouts)
        observe(parts.sampler, rollouts.sampled)
        with timer("advantage"):
            prompts = teacher_prompts(parts, rollouts.kept, rollouts.mine)
            batches = make_batches(parts, rollouts.kept, rollouts.owners, prompts) if rollouts.kept else []
            ask_first(parts, batches)

    critic_updates = update_critic(parts, batches, rollouts.kept)
    waiting = step < parts.recipe.critic.pretrain_steps  # for a critic that knows something
    start = max(parts.state["fresh_optimizer"], parts.recipe.critic.pretrain_steps)
    rate = learning_rate(parts.recipe.trainer, step, start) * parts.state["controller"]["lr_factor"]
    lr = 0.0 if waiting else rate
    with timer("update"):
        faults, loss = parts.recipe.faults, partial(objective, algorithm)
        made = []
        for batch in [] if waiting else batches:
            with beside(parts, batch):
                made.append(
                    careful_update(
                        parts, faults, parts.trainer, batch, noted(batch, loss), lr=lr, groups=rollouts.kept
                    )
                )
        updates = [update for update in made if update]
    follow(parts)
    algorithm.reweight.observe(mean(x for g in rollouts.sampled for x in g.first_scores))
    algorithm.entropy.observe(mean(u["entropy"] for u in updates))

    parts.step += 1
    if parts.course is not None:  # before the trainer goes to sleep
        parts.course.look(parts.step, parts.trainer, timer)
    with timer("sync"):
        sync(parts)
    record(parts, rollouts, batches, updates, lr, critic_updates)
    kl = mean(u.get("ref_kl", 0.0) for u in updates)
    observe_kl(algorithm.kl, kl, rollouts.kept)
    renew_reference(parts, kl)
    evolve_rubrics(parts, rollouts.mine)


def update_critic(parts: Parts, batches: list[Batch], groups: list[Group]) -> list[dict[str, float]]:
    """Train the critic, if there is one, on the batches the policy trains on."""
    if parts.critic is None:
        return []
    lr = learning_rate(critic_settings(parts.recipe.critic, parts.recipe.trainer), parts.step)
    clip = parts.recipe.algorithm.advantage.value_clip
    faults, loss = parts.recipe.faults, partial(value_objective, clip)
    with parts.timer("critic"):
        made = [
            careful_update(parts, faults, parts.critic, batch, loss, lr=lr, groups=groups)
            for batch in batches
        ]
    return [update | {"lr": lr} for update in made if update]


def value_objective(
    clip: float | None, values_n: Tensor, at: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic's loss of a micro-batch, from its values and the batch's tensors at its tokens."""
    return critic_loss(
        clip, values_N=values_n, old_values_N=at["values"], returns_N=at["returns"], weights_N=at["weights"]
    )


def objective(
    algorithm: Any, logprobs_n: Tensor, entropies_n: Tensor, hits_n: Tensor, *rest: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a micro-batch, from its scores and the batch's tensors at its tokens.

    `rest`: what a comparison with a teacher has found, and these tensors.
    """
    *compared, at = rest
    loss, metrics = policy_loss(
        algorithm,
        new_N=logprobs_n,
        entropy_N=entropies_n,
        old_N=at.get("old_logprobs"),
        rollout_N=at["rollout_logprobs"],
        ref_N=at.get("ref_logprobs"),
        advantages_N=at["advantages"],
        weights_N=at["weights"],
        lengths_B=at["lengths"],
        ages_N=at.get("ages"),
        scale_N=at.get("mismatch_scale"),
        chosen_N=at.get("chosen"),
    )
    if "teacher_weights" not in at:
        return loss, metrics
    more, measured = teacher_loss(
        algorithm,
        compared,
        new_N=logprobs_n,
        old_N=at.get("old_logprobs"),
        rollout_N=at["rollout_logprobs"],
        teacher_N=at.get("teacher_logprobs"),
        weights_N=at["teacher_weights"],
        lengths_B=at["lengths"],
        ages_N=at.get("ages"),
        scale_N=at.get("mismatch_scale"),
    )
    return loss + more, metrics | measured
