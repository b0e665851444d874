"""Rounds of generation until a step has its groups: dynamic sampling with refill and a cap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core import distributed, rng
from rlvr_cli.core.types import Group
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.rollout import Generator
from rlvr_cli.rollout.trees import Trees
from rlvr_cli.sampling.collect import collect, gates_of
from rlvr_cli.schema import Recipe
from rlvr_cli.training.own_scale import check_scale, on_scale
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.second_verifier import Audit
from rlvr_cli.training.shares import hand_over, without_tokens
from rlvr_cli.training.state_values import measure_states
from rlvr_cli.training.stop import Interrupted, Stop
from rlvr_cli.training.unjudged import cause_of


@dataclass(slots=True, kw_only=True)
class Rollouts:
    """What one step sampled, in prompt order."""

    kept: list[Group]
    """Groups that train, of all ranks; on several, with the tokens and logprobs this rank trains on alone."""
    sampled: list[Group]
    """All groups of all ranks; on several, without text, verdicts, and (but for those kept) tokens."""
    mine: list[Group]
    """The groups this rank has sampled, with everything, trained on or not."""
    owners: list[int] | None = None
    """The rank that trains on each kept sample, counted through the groups; None on one rank."""
    refills: int
    """Rounds of generation after the first."""
    unjudged: str | None = None
    """Why no sample has a verdict; then nothing trains, and the prompts come again after a resume."""
    state_tokens: int = 0
    """Sampled to measure the values of states (advantage=segment)."""


def sample_groups(parts: Parts, step: int) -> Rollouts:
    """Rounds of generation until `batch.prompts_per_step` groups pass the filter, or the cap.

    Every rank takes the same prompts from the sampler, generates its share, and sees all lengths and
    scores, so that the groups of a step do not depend on how many ranks there are. Surplus groups are
    dropped. The tokens of the kept ones go to the ranks that train on them.
    """
    recipe = parts.recipe
    parts.pool.around.step = step
    start = parts.sampler.state(), rng.state()
    out = Rollouts(kept=[], sampled=[], mine=[], refills=0)
    for out.refills in range(recipe.rollout.max_rounds):
        missing = recipe.batch.prompts_per_step - len(out.kept)
        if recipe.algorithm.filter.drops:
            wanted = math.ceil(missing * recipe.rollout.oversample)
        else:
            wanted = missing
        prompts = parts.sampler.take(wanted)
        mine = collect_share(parts, prompts, recipe, growing(parts))
        leave_if_asked(parts.stop, parts.sampler, start)
        if out.refills == 0:
            out.unjudged = cause_of(mine)
        shares = distributed.gather([without_tokens(g, recipe.algorithm.advantage) for g in mine])
        groups = sorted((g for share in shares for g in share), key=lambda g: g.index)
        keep = judge(groups, recipe.algorithm, step)
        out.kept += [g for g, k in zip(groups, keep, strict=True) if k]
        out.sampled += groups
        out.mine += mine
        if out.unjudged is not None:
            out.kept = []
            put_back(parts.sampler, start)
            return out
        if len(out.kept) >= recipe.batch.prompts_per_step:
            break
    out.kept = out.kept[: recipe.batch.prompts_per_step]
    take_rewards(out)
    if measured_states(parts, out, step):
        leave_if_asked(parts.stop, parts.sampler, start)
    out.owners = hand_over(parts, out.kept, out.mine)
    return out


def take_rewards(out: Rollouts) -> None:
    """Shaped rewards, which every rank has of all groups, for the groups of this rank."""
    rewards = {group.index: group.rewards for group in out.sampled}
    for group in out.mine:
        group.rewards = rewards[group.index]


def measured_states(parts: Parts, out: Rollouts, step: int) -> bool:
    """Values of states, where the advantage asks for them: then the engine has sampled, and a stop may have
    been asked for meanwhile."""
    if not hasattr(parts.recipe.algorithm.advantage, "boundaries"):
        return False
    reward = partial(judge, algorithm=parts.recipe.algorithm, step=step)
    out.state_tokens = measure_states(parts, out.kept, out.mine, reward)
    return True


def leave_if_asked(stop: Stop, sampler: Sampler, start: tuple[Any, Any]) -> None:
    """Where a stop was asked for: the prompts of the unfinished step come again after a resume."""
    if stop.agreed():
        put_back(sampler, start)
        raise Interrupted


def put_back(sampler: Sampler, start: tuple[Any, Any]) -> None:
    sampler.load(start[0])
    rng.load(start[1])  # which unseeded sampling draws from


def growing(parts: Parts) -> Generator:
    """What answers training's requests: the engine, or trees that it grows."""
    shape = parts.recipe.algorithm.advantage
    return Trees(parts.engine, shape) if hasattr(shape, "branching") else parts.engine


def collect_share(
    parts: Parts, prompts: list[tuple[int, Any]], recipe: Recipe, engine: Generator | None = None
) -> list[Group]:
    """This rank's share of the prompts, sampled (by `engine`, None: that of `parts`) and verified as `recipe`
    says; none where it only helps with that of another."""
    number, engines = parts.engine.share
    with verification(parts, recipe) as settings:
        return collect(
            engine or parts.engine,
            parts.pool,
            prompts[number::engines],
            samples=recipe.batch.group_size,
            sampling=parts.sampling,
            seed=recipe.seed if recipe.rollout.seeded else None,
            stopped=lambda: parts.stop.asked,
            **settings,
        )


@contextmanager
def verification(parts: Parts, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """How groups are verified as `recipe` says, as `collect` and `verified` take it. At the end the second
    verifier's verdicts are waited for."""
    audit = Audit(parts.pool, recipe.diagnosis, recipe.seed)
    yield {
        "weights": parts.verifier_weights,
        "gates": gates_of(recipe.verifiers),
        "unscored": recipe.verification.unscored,
        "timer": parts.timer,
        "finished": audit.submit,
        "say": partial(parts.tracker.event, "waiting"),
    }
    audit.settle(parts.timer)


def judge(groups: list[Group], algorithm: Any, step: int) -> list[bool]:
    """Fill every group's shaped rewards; which groups train."""
    if not groups:
        return []
    correct_PG = torch.tensor([g.first_scores for g in groups], dtype=torch.float64)
    scores_PG = torch.tensor([g.scores for g in groups], dtype=torch.float64)
    lengths_PG = torch.tensor([[c.response_length for c in g.completions] for g in groups])
    truncated_PG = torch.tensor([[not c.finished for c in g.completions] for g in groups])
    shaping, scores_PG = on_scale(groups, algorithm.shaping, scores_PG)
    rewards_PG: Tensor = shaping(scores_PG, lengths_PG, truncated_PG, step)
    check_scale(groups, algorithm, correct_PG, rewards_PG)
    for group, rewards_G in zip(groups, rewards_PG.tolist(), strict=True):
        group.rewards = rewards_G
    keep_P: Tensor = algorithm.filter(correct_PG, rewards_PG)
    return [bool(k) for k in keep_P]
