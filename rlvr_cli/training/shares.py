"""Tokens and the engine's logprobs on the rank that trains on them, and on no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.episode import Episode
from rlvr_cli.core.types import Completion, Group, elsewhere
from rlvr_cli.training.batches import updates_of
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.reward_parts import needs_parts

PER_TOKEN = ("tokens", "logprobs", "versions", "routes")
"""What a completion has for each of its tokens (routes also for its prompt's)."""


def slim(group: Group, *, parts: bool = False) -> Group:
    """A group whose samples any rank measures: ids, logprobs, scores (and their `parts`), no text. On one
    rank itself."""
    if distributed.world_size() == 1:
        return group
    return replace(
        group,
        problem=replace(group.problem, prompt="", answer="", extra={}, raw=None),
        completions=[replace(c, text="", episode=brief(c)) for c in group.completions],
        verdicts=[],
        parts=group.parts if parts else [],
        audits={},
    )


def brief(completion: Completion) -> Episode | None:
    """What every rank needs of an episode: no texts."""
    if (episode := completion.episode) is None:
        return None
    return replace(episode, turns=[replace(turn, text="", said="", notes={}) for turn in episode.turns])


def without_tokens(group: Group, advantage: Any) -> Group:
    """A group as every rank needs it: lengths, scores, what the advantage asks for, the prompt's tokens. On
    one rank the group itself."""
    if distributed.world_size() == 1:
        return group
    parts = needs_parts(advantage)
    return replace(slim(group, parts=parts), completions=[bare(c) for c in group.completions])


def bare(completion: Completion) -> Completion:
    """A sample as it is known where its tokens are not."""
    counts = {name: len(getattr(completion, name)) for name in PER_TOKEN}
    lengths = {name: elsewhere(count) for name, count in counts.items() if count}  # one empty array for all
    earlier = [bare(row) for row in completion.earlier]
    return replace(completion, text="", episode=brief(completion), earlier=earlier, **lengths)


def hand_over(parts: Parts, kept: list[Group], mine: list[Group]) -> list[int] | None:
    """Send each kept completion to the rank that trains on it; the ranks, in the order of the samples.

    Where several ranks train on it together it goes to all of them, and the first stands for them.
    `kept` has this rank's completions in it afterwards, from `mine` and the other ranks' groups. None on one
    rank, which has everything. All ranks must call it.
    """
    if distributed.world_size() == 1 or not kept:
        return None
    size = len(kept[0].completions)
    samples = [[(row.after(g.problem), row) for row in c.rows] for g in kept for c in g.completions]
    lengths = [sum(len(prompt) + len(row.tokens) for prompt, row in rows) for rows in samples]
    owners = parts.trainer.owners(
        updates_of(kept, parts.recipe.batch.updates_per_step),
        lengths,
        [rows[0][0].tobytes() for rows in samples],
    )
    together = parts.recipe.trainer.sequence_parallel
    sampled = {group.index: group for group in mine}
    leaving: list[dict[int, Completion]] = [{} for _ in range(distributed.world_size())]
    for place, group in enumerate(kept):
        if group.index in sampled:
            for sample, completion in enumerate(sampled[group.index].completions, place * size):
                for rank in range(owners[sample], owners[sample] + together):
                    leaving[rank][sample] = replace(completion, text="")
    for arrived in distributed.exchange(leaving):
        for sample, completion in arrived.items():
            kept[sample // size].completions[sample % size] = completion
    return owners
