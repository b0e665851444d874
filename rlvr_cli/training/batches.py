"""Kept groups -> the batches of a step's optimizer updates: logprobs, advantages, token weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.core.types import Batch, Group
from rlvr_cli.engine.critic import Critic
from rlvr_cli.tracking import Timer
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.token_records import blank


def sequences_of(groups: list[Group]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Prompt + response of every sample, and the mask of its response tokens."""
    sequences, trained = [], []
    for group in groups:
        prompt = np.asarray(group.problem.tokens, np.int32)
        for completion in group.completions:
            sequences.append(np.concatenate([prompt, completion.tokens]))
            trained.append(np.arange(len(sequences[-1])) >= len(prompt))
    return sequences, trained


def make_batches(parts: Parts, groups: list[Group]) -> list[Batch]:
    """One batch for each of `batch.updates_per_step` updates, groups in order.

    Samples without a reward (their verifier gave no verdict) and sequences whose every token is masked
    are left out, and so are updates that nothing is left for.
    """
    algorithm = parts.recipe.algorithm
    sequences, trained = sequences_of(groups)
    lengths_B = torch.tensor([int(mask.sum()) for mask in trained])
    rollout_N = torch.from_numpy(np.concatenate([c.logprobs for g in groups for c in g.completions])).float()
    old_N, entropies_N, ref_N = score(parts, sequences, trained)
    values_N = values(parts.critic, parts.timer, sequences, trained)
    rewards_PG = torch.tensor([g.rewards for g in groups], dtype=torch.float64)
    truncated_B = torch.tensor([not c.finished for g in groups for c in g.completions])

    inputs = AdvantageInputs(
        rewards_PG=rewards_PG,
        lengths_B=lengths_B,
        token_rewards_N=token_rewards(algorithm.kl, old_N, ref_N),
        values_N=values_N,
        finished_B=~truncated_B,
        logprobs_N=rollout_N,
        state_values_N=state_values(groups),
    )
    correct_PG = torch.tensor([g.first_scores for g in groups], dtype=torch.float64)
    estimated_N = algorithm.advantage(inputs)
    advantages_N = algorithm.reweight(estimated_N, rewards_PG, correct_PG, lengths_B)
    if advantages_N is not estimated_N:
        note_corrections(groups, advantages_N / estimated_N, lengths_B)
    keep_N = keep_mask(
        algorithm.token_weights, ~rewards_PG.flatten().isnan(), entropies_N, old_N, lengths_B, truncated_B
    )
    note_advantages(groups, advantages_N, keep_N, lengths_B)

    tensors = {"rollout_logprobs_N": rollout_N, "advantages_N": advantages_N.float()}
    if parts.needs_old:
        tensors["old_logprobs_N"] = old_N
    if ref_N is not None:
        tensors["ref_logprobs_N"] = ref_N
    if values_N is not None:
        _, returns_N = algorithm.advantage.estimate(inputs)
        tensors |= {"values_N": values_N.float(), "returns_N": returns_N.float()}
    size = len(groups[0].completions)
    batches = []
    for part in np.array_split(np.arange(len(groups)), min(parts.recipe.batch.updates_per_step, len(groups))):
        members = [int(p) * size + g for p in part for g in range(size)]
        batch = cut(members, sequences, trained, keep_N, lengths_B, algorithm.aggregation, tensors)
        if batch.sequences:
            if parts.records is not None and parts.recipe.tracker.tokens:
                blank(batch)
            batches.append(batch)
    return batches


def keep_mask(
    token_weights: Any,
    scored_B: Tensor,
    entropies_N: Tensor | None,
    old_N: Tensor | None,
    lengths_B: Tensor,
    truncated_B: Tensor,
) -> Tensor:
    """Which tokens train; samples without a reward have none, and no part in quantiles."""
    keep_N = scored_B.repeat_interleave(lengths_B)
    at_tokens = (None if x_N is None else x_N[keep_N] for x_N in (entropies_N, old_N))
    keep_N[keep_N.clone()] = token_weights(*at_tokens, lengths_B[scored_B], truncated_B[scored_B])
    return keep_N


def score(
    parts: Parts, sequences: list[np.ndarray], trained: list[np.ndarray]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Old logprobs, entropies and reference logprobs, each only where the algorithm needs it."""
    old_N = entropies_N = ref_N = None
    if parts.needs_old:
        with parts.timer("old_logprobs"):
            old_N, entropies_N, _ = parts.trainer.score(sequences, trained)
    if parts.reference is not None:
        with parts.timer("ref_logprobs"):
            ref_N = parts.reference.logprobs(sequences, trained)
    return old_N, entropies_N, ref_N


def token_rewards(kl: Any, old_N: Tensor | None, ref_N: Tensor | None) -> Tensor | None:
    """The KL penalty as rewards of single tokens; None where it is none, or its coefficient is 0."""
    rewards_N: Tensor | None = None
    if kl.in_reward and kl.needs_reference:
        rewards_N = kl.token_rewards(old_N, ref_N)
    return rewards_N


def values(
    critic: Critic | None, timer: Timer, sequences: list[np.ndarray], trained: list[np.ndarray]
) -> Tensor | None:
    """The critic's values before the updates, float64 as the estimators compute; None without a critic."""
    if critic is None:
        return None
    with timer("values"):
        return critic.values(sequences, trained).double()


def cut(
    members: list[int],
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    keep_N: Tensor,
    lengths_B: Tensor,
    aggregation: Any,
    tensors: dict[str, Tensor],
) -> Batch:
    """The batch of the given sequences; those without a kept token leave it, and every normaliser."""
    ends = lengths_B.cumsum(0).tolist()
    spans = {b: slice(ends[b] - int(lengths_B[b]), ends[b]) for b in members}
    members = [b for b in members if keep_N[spans[b]].any()]
    if not members:
        return Batch(sequences=[], trained=[], weights_N=torch.zeros(0))
    at = torch.cat([torch.arange(spans[b].start, spans[b].stop) for b in members])
    return Batch(
        sequences=[sequences[b] for b in members],
        trained=[trained[b] for b in members],
        weights_N=aggregation(keep_N[at], lengths_B[members]).float(),
        samples=members,
        **{name: x[at] for name, x in tensors.items()},
    )


def state_values(groups: list[Group]) -> Tensor | None:
    """What `state_values.measure_states` found, at all tokens; None without."""
    found = [values for g in groups for values in g.state_values]
    return torch.from_numpy(np.concatenate(found)) if found else None


def note_advantages(groups: list[Group], advantages_N: Tensor, keep_N: Tensor, lengths_B: Tensor) -> None:
    """Write each sample's mean advantage over its trained tokens into its group, for the records."""
    rows = zip(advantages_N.split(lengths_B.tolist()), keep_N.split(lengths_B.tolist()), strict=True)
    means = [float(a[k].mean()) if k.any() else float("nan") for a, k in rows]
    size = len(groups[0].completions)
    for p, group in enumerate(groups):
        group.advantages = means[p * size : (p + 1) * size]


def note_corrections(groups: list[Group], factors_N: Tensor, lengths_B: Tensor) -> None:
    """Write the factor on each sample's advantage into its group, for the difficulty metrics."""
    factors = [float(f[0]) if len(f) else float("nan") for f in factors_N.split(lengths_B.tolist())]
    size = len(groups[0].completions)
    for p, group in enumerate(groups):
        group.corrections = factors[p * size : (p + 1) * size]
