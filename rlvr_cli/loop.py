"""Reinforcement learning from verifiable rewards, on one page."""

from __future__ import annotations

from functools import partial
from typing import Any, TextIO

from torch import Tensor

from rlvr_cli.algorithms.objective import policy_loss
from rlvr_cli.assemble import Parts, assemble, save
from rlvr_cli.engine import distributed
from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.experience import make_batches
from rlvr_cli.finish import conclude, evaluate_benches, interrupted, record
from rlvr_cli.metrics import mean
from rlvr_cli.sampling import sample_groups
from rlvr_cli.schema import Recipe
from rlvr_cli.session import open_tracker
from rlvr_cli.stop import Interrupted
from rlvr_cli.sync import sync


def rl(recipe: Recipe, terminal: TextIO) -> None:
    """Train the policy of `recipe`; every rank calls it. Ends with the exported model in `out/final`."""
    distributed.initialise()
    with open_tracker(recipe, terminal, kind="rl") as tracker, assemble(recipe, tracker) as parts:
        try:
            sync(parts)
            if recipe.eval.at_start and parts.step == 0:
                evaluate_benches(parts)
            while parts.step < recipe.trainer.steps:
                parts.stop.check()
                train_step(parts)
                if parts.due(recipe.checkpoint.every):
                    save(parts)
                if parts.due(recipe.eval.every):
                    evaluate_benches(parts)
            if recipe.eval.at_end:
                evaluate_benches(parts)
        except Interrupted:
            interrupted(parts)
        else:
            conclude(parts)


def train_step(parts: Parts) -> None:
    """Sample, verify, filter, estimate advantages, update, sync, record."""
    algorithm, step, timer = parts.recipe.algorithm, parts.step, parts.timer

    rollouts = sample_groups(parts, step)
    parts.engine.sleep()
    with timer("advantage"):
        batches = make_batches(parts, rollouts.kept) if rollouts.kept else []

    lr = learning_rate(parts.recipe.trainer, step)
    with timer("update"):
        updates = [parts.trainer.update(batch, partial(objective, algorithm), lr=lr) for batch in batches]
    algorithm.reweight.observe(mean(c for g in rollouts.sampled for c in g.correct))
    algorithm.entropy.observe(mean(u["entropy"] for u in updates))
    renew_reference(parts, mean(u.get("ref_kl", 0.0) for u in updates))

    with timer("sync"):
        sync(parts)
    parts.step += 1
    record(parts, rollouts, batches, updates, lr)


def objective(
    algorithm: Any, logprobs_n: Tensor, entropies_n: Tensor, hits_n: Tensor, at: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The policy loss of a micro-batch, from its scores and the batch's tensors at its tokens."""
    return policy_loss(
        algorithm,
        new_N=logprobs_n,
        entropy_N=entropies_n,
        old_N=at.get("old_logprobs"),
        rollout_N=at["rollout_logprobs"],
        ref_N=at.get("ref_logprobs"),
        advantages_N=at["advantages"],
        weights_N=at["weights"],
        lengths_B=at["lengths"],
    )


def renew_reference(parts: Parts, mean_kl: float) -> None:
    """Copy the policy into the reference when the algorithm says it is time (ProRL)."""
    rule = parts.recipe.algorithm.reference
    if parts.reference is None or not rule.due(parts.step + 1, parts.state["last_reset"], mean_kl):
        return
    parts.reference.reset()
    if rule.reset_optimizer:
        parts.trainer.reset_optimizer()
    parts.state["last_reset"] = parts.step + 1
    parts.tracker.event("reference", f"reference reset after step {parts.step + 1} (KL was {mean_kl:.4f})")
