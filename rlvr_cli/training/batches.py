"""Kept groups -> the batches of a step's optimizer updates: logprobs, advantages, token weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.core.types import Batch, Elsewhere, Group, elsewhere
from rlvr_cli.engine.critic import Critic
from rlvr_cli.tracking import Timer
from rlvr_cli.training.leaves import places, row_of
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.reward_parts import parts_of
from rlvr_cli.training.sampled import rollout_logprobs, token_ages
from rlvr_cli.training.start_scores import score
from rlvr_cli.training.taught import take_opinion
from rlvr_cli.training.teaching import Prompts, normalised
from rlvr_cli.training.token_records import blank
from rlvr_cli.training.turn_credit import turn_rewards, turns_of, without_turns
from rlvr_cli.training.whole_update import Aggregation, aggregated, passes, scaled, with_choice


def sequences_of(groups: list[Group]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Prompt and what came after it of every sequence of every sample, and the mask of its sampled tokens."""
    sequences: list[np.ndarray] = []
    trained: list[np.ndarray] = []
    for group in groups:
        for completion in (row for sample in group.completions for row in sample.rows):
            prompt, tokens, mask = row_of(completion, group.problem)
            if isinstance(tokens, Elsewhere):
                sequences.append(elsewhere(len(prompt) + len(tokens)))
            else:
                sequences.append(np.concatenate([prompt, tokens]))
            trained.append(np.concatenate([np.zeros(len(prompt), bool), mask]))
    return sequences, trained


def updates_of(groups: list[Group], updates_per_step: int) -> list[list[int]]:
    """The samples of each of a step's updates, counted through the groups in order."""
    size = len(groups[0].completions)
    split = np.array_split(np.arange(len(groups)), min(updates_per_step, len(groups)))
    return [[int(p) * size + g for p in part for g in range(size)] for part in split]


def make_batches(
    parts: Parts, groups: list[Group], owners: list[int] | None = None, prompts: Prompts | None = None
) -> list[Batch]:
    """One batch for each of `batch.updates_per_step` updates (for each pass of them), groups in order.

    Samples without a verdict and sequences whose every token is masked are left out, and so are updates that
    nothing is left for. `owners`: the rank that has each sample, where not every rank has all; all ranks must
    call it. `prompts`: what the teacher reads before each sample, if not what the policy reads.
    """
    algorithm, (sequences, trained) = parts.recipe.algorithm, sequences_of(groups)
    lengths_B = torch.tensor([c.length for g in groups for c in g.completions])
    rows_B = [len(c.rows) for g in groups for c in g.completions]
    owners = None if owners is None else np.repeat(owners, rows_B).tolist()
    rollout_N = rollout_logprobs(groups, owners)
    (old_N, entropies_N, ref_N), routes = score(parts, groups, sequences, trained, owners)
    values_N = values(parts.critic, parts.timer, sequences, trained, owners)
    rewards_PG = torch.tensor([g.rewards for g in groups], dtype=torch.float64)
    earned_N = turn_rewards(groups, lengths_B, parts.recipe.verifiers)
    truncated_B = torch.tensor([not c.finished for g in groups for c in g.completions])
    inputs = AdvantageInputs(
        rewards_PG=without_turns(rewards_PG, earned_N, lengths_B),
        lengths_B=lengths_B,
        token_rewards_N=added(token_rewards(algorithm.kl, old_N, ref_N), earned_N),
        values_N=values_N,
        finished_B=~truncated_B,
        logprobs_N=rollout_N,
        old_logprobs_N=old_N,
        ref_logprobs_N=ref_N,
        state_values_N=state_values(groups),
        places_N=places(groups),
        parts=parts_of(groups, parts.recipe.verifiers, algorithm.advantage),
        turns=turns_of(groups, algorithm.advantage),
    )
    advantages_N = reweighted(algorithm, groups, inputs, rewards_PG)
    advantages_N, taught = take_opinion(
        parts, groups, advantages_N, old_N, lengths_B, sequences, trained, owners, prompts
    )
    scored_B = ~rewards_PG.flatten().isnan() | (algorithm.distillation.task_coef == 0)
    skips = getattr(algorithm.advantage, "skips_zero", False)  # also where a leaf has no verdict of its own
    training_B = drawn(parts, scored_B | skips, len(groups[0].completions))
    keep_N = keep_mask(algorithm.token_weights, training_B, entropies_N, old_N, lengths_B, truncated_B)
    if skips:
        keep_N &= advantages_N != 0
    note_advantages(groups, advantages_N, keep_N, lengths_B)
    tensors: dict[str, Any] = {"rollout_logprobs_N": rollout_N, "advantages_N": advantages_N.float()} | taught
    tensors |= token_ages(parts, groups, owners) | there(old_logprobs_N=old_N, ref_logprobs_N=ref_N)
    if values_N is not None:
        _, returns_N = algorithm.advantage.estimate(inputs)
        tensors |= {"values_N": values_N.float(), "returns_N": returns_N.float()}
    batches = []
    aggregation = partial(aggregated, algorithm.aggregation, lengths_B, len(groups[0].completions))
    masks = passes(algorithm.token_weights, keep_N, old_N)
    updates = product(updates_of(groups, parts.recipe.batch.updates_per_step), masks)
    for number, (members, mask_N) in enumerate(updates):
        batch = cut(
            members, rows_B, sequences, trained, mask_N, lengths_B, aggregation, tensors, owners, routes
        )
        if batch.sequences:
            batches.append(finished(parts, batch, number, aggregation, prompts))
    return batches


def there(**tensors: Tensor | None) -> dict[str, Tensor]:
    """Those that are not None."""
    return {name: x for name, x in tensors.items() if x is not None}


def reweighted(algorithm: Any, groups: list[Group], inputs: AdvantageInputs, rewards_PG: Tensor) -> Tensor:
    """Advantages with the factors that prompts or samples have; these are noted."""
    correct_PG = torch.tensor([g.first_scores for g in groups], dtype=torch.float64)
    estimated_N = algorithm.advantage(inputs)
    told = (inputs.old_logprobs_N,) if getattr(algorithm.reweight, "needs_old_logprobs", False) else ()
    advantages_N: Tensor = algorithm.reweight(estimated_N, rewards_PG, correct_PG, inputs.lengths_B, *told)
    if advantages_N is not estimated_N and not told:  # a factor for each sample, not for each token
        note_corrections(groups, advantages_N / estimated_N, inputs.lengths_B)
    return advantages_N


def finished(
    parts: Parts, batch: Batch, number: int, aggregation: Aggregation, prompts: Prompts | None
) -> Batch:
    """The batch of a step's update with what its loss chooses and its teacher's weights, without what has no
    part in it, and noted where asked."""
    algorithm = parts.recipe.algorithm
    batch = scaled(batch, algorithm.mismatch)
    if hasattr(algorithm.loss, "choose"):
        batch = with_choice(batch, algorithm.loss, f"{parts.recipe.seed}/{parts.step}/{number}")
    if algorithm.distillation.in_loss:
        batch = normalised(batch, algorithm.distillation, aggregation, prompts)
    if only_advantages(parts):
        batch = without_idle(batch)
    if notes_tokens(parts):
        blank(batch)
    return batch


def drawn(parts: Parts, scored_B: Tensor, group_size: int) -> Tensor:
    """Which samples train: of each prompt as many as its algorithm draws."""
    weights = parts.recipe.algorithm.token_weights
    if getattr(weights, "samples", None) is None:  # an option of a plugin may not have it
        return scored_B
    found: Tensor = weights.drawn(scored_B, group_size, f"{parts.recipe.seed}/{parts.step}")
    return found


def keep_mask(
    token_weights: Any,
    scored_B: Tensor,
    entropies_N: Tensor | None,
    old_N: Tensor | None,
    lengths_B: Tensor,
    truncated_B: Tensor,
) -> Tensor:
    """Which tokens train; samples that are not scored (or drawn) have none, and no part in quantiles."""
    keep_N = scored_B.repeat_interleave(lengths_B)
    at_tokens = (None if x_N is None else x_N[keep_N] for x_N in (entropies_N, old_N))
    keep_N[keep_N.clone()] = token_weights(*at_tokens, lengths_B[scored_B], truncated_B[scored_B])
    return keep_N


def added(x_N: Tensor | None, y_N: Tensor | None) -> Tensor | None:
    """The sum of what there is."""
    return y_N if x_N is None else x_N if y_N is None else x_N + y_N


def token_rewards(kl: Any, old_N: Tensor | None, ref_N: Tensor | None) -> Tensor | None:
    """The KL penalty as rewards of single tokens; None where it is none, or its coefficient is 0."""
    rewards_N: Tensor | None = None
    if kl.in_reward and kl.needs_reference:
        rewards_N = kl.token_rewards(old_N, ref_N)
    return rewards_N


def values(
    critic: Critic | None,
    timer: Timer,
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    owners: list[int] | None,
) -> Tensor | None:
    """The critic's values before the updates, float64 as the estimators compute; None without a critic."""
    if critic is None:
        return None
    with timer("values"):
        return critic.values(sequences, trained, owners=owners).double()


def cut(
    members: list[int],
    rows_B: list[int],
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    keep_N: Tensor,
    lengths_B: Tensor,
    aggregation: Aggregation,
    tensors: dict[str, Any],
    owners: list[int] | None,
    routes: list[np.ndarray] | None = None,
) -> Batch:
    """The batch of the given samples; those without a kept token leave it, and every normaliser.

    `rows_B`: sequences of each sample, which lie one after the other in `sequences`, `trained`, `owners`
    and `routes`. In the aggregation they count as one.
    """
    ends = lengths_B.cumsum(0).tolist()
    spans = {b: slice(ends[b] - int(lengths_B[b]), ends[b]) for b in members}
    members = [b for b in members if keep_N[spans[b]].any()]
    if not members:
        return Batch(sequences=[], trained=[], weights_N=torch.zeros(0))
    at = torch.cat([torch.arange(spans[b].start, spans[b].stop) for b in members])
    last = np.cumsum(rows_B)
    rows = [(b, r) for b in members for r in range(last[b] - rows_B[b], last[b]) if trained[r].any()]
    return Batch(
        sequences=[sequences[r] for _, r in rows],
        trained=[trained[r] for _, r in rows],
        weights_N=aggregation(keep_N[at], members),
        samples=[b for b, _ in rows],
        owners=None if owners is None else [owners[r] for _, r in rows],
        routes=None if routes is None else [routes[r] for _, r in rows],
        **{name: x[at] for name, x in tensors.items()},
    )


def notes_tokens(parts: Parts) -> bool:
    """Whether what the update sees at each token is recorded."""
    return parts.records is not None and parts.recipe.tracker.tokens


def only_advantages(parts: Parts) -> bool:
    """Whether a sequence whose advantages are 0 has no part in an update, nor in what is measured."""
    kl, entropy = parts.recipe.algorithm.kl, parts.recipe.algorithm.entropy
    seen = kl.needs_reference or entropy.needs_entropy or parts.critic is not None
    seen = seen or parts.recipe.algorithm.distillation.in_loss
    seen = seen or getattr(parts.recipe.algorithm.loss, "beyond_advantages", False)
    return not seen and not notes_tokens(parts)


def without_idle(batch: Batch) -> Batch:
    """The batch without sequences whose every advantage is exactly 0, which have no gradient.

    They stay in the normaliser of the others' weights. One is kept where nothing else is left: the
    optimizer's step is made as if all had been computed.
    """
    assert batch.advantages_N is not None
    lengths = batch.lengths_B
    busy = [bool(a_n.any()) for a_n in batch.advantages_N.split(lengths)]
    if all(busy):
        return batch
    if not any(busy):
        busy[int(np.argmin(lengths))] = True
    at_N = torch.repeat_interleave(torch.tensor(busy), torch.tensor(lengths))
    kept: dict[str, Any] = {f"{name}_N": x_N[at_N] for name, x_N in batch.per_token().items()}
    return replace(
        batch,
        sequences=[s for s, b in zip(batch.sequences, busy, strict=True) if b],
        trained=[t for t, b in zip(batch.trained, busy, strict=True) if b],
        samples=[i for i, b in zip(batch.samples, busy, strict=True) if b],
        owners=None if batch.owners is None else [r for r, b in zip(batch.owners, busy, strict=True) if b],
        routes=None if batch.routes is None else [r for r, b in zip(batch.routes, busy, strict=True) if b],
        idle_tokens=int((batch.weights_N[~at_N] != 0).sum()),
        **kept,
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
