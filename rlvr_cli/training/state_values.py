"""Monte Carlo values of states within responses: sampled on from there, verified, averaged (SPO)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Completion, Group
from rlvr_cli.rollout import Request
from rlvr_cli.sampling.collect import gates_of, request_seed, verified
from rlvr_cli.training.parts import Parts


@dataclass(slots=True, kw_only=True)
class State:
    """A prefix of one or several responses to a problem; several are measured once."""

    group: Group
    number: int
    """Its place among the group's states."""
    prefix: tuple[int, ...]
    """Response tokens so far; empty: the prompt."""
    places: list[tuple[int, int]]
    """(completion, token) pairs it comes before."""


def measure_states(parts: Parts, kept: list[Group], mine: list[Group], reward: Any) -> int:
    """Fill `state_values` of all kept groups; how many tokens that took, over all ranks.

    Each rank measures the groups it sampled; all ranks must call it. reward(groups) fills in the groups'
    rewards, as for any other group. A continuation may use what rollout.max_tokens leaves.
    """
    wanted = {group.index for group in kept}
    states = [s for g in mine if g.index in wanted for s in states_of(g, parts.recipe.algorithm.advantage)]
    measured = continue_from(parts, states)
    if parts.stop.agreed():  # which the caller notices too
        return 0
    reward(measured)
    found: dict[int, list[np.ndarray]] = {
        group.index: [np.full(len(c.tokens), np.nan) for c in group.completions]
        for group in mine
        if group.index in wanted
    }
    tokens = 0
    for state, samples in zip(states, measured, strict=True):
        known = [r for r in samples.rewards if not np.isnan(r)]
        tokens += sum(len(c.tokens) - len(state.prefix) for c in samples.completions)
        for number, token in state.places if known else []:
            found[state.group.index][number][token] = np.mean(known)
    for share, _ in (shares := distributed.gather((found, tokens))):
        for group in kept:
            group.state_values = share.get(group.index, group.state_values)
    return sum(count for _, count in shares)


def states_of(group: Group, advantage: Any) -> list[State]:
    """The states before the tokens that begin a segment, equal prefixes once."""
    found: dict[tuple[int, ...], State] = {}
    for number, completion in enumerate(group.completions):
        length = torch.tensor([len(completion.tokens)])
        begins = advantage.boundaries(torch.from_numpy(completion.logprobs), length)
        for token in begins.nonzero().flatten().tolist():
            prefix = tuple(completion.tokens[:token].tolist())
            state = found.setdefault(prefix, State(group=group, number=len(found), prefix=prefix, places=[]))
            state.places.append((number, token))
    return list(found.values())


def continue_from(parts: Parts, states: list[State]) -> list[Group]:
    """For each state a group of whole responses that begin with its prefix, verified."""
    recipe, seeded = parts.recipe, parts.recipe.rollout.seeded
    requests = [
        Request(
            key=key,
            tokens=[*state.group.problem.tokens, *state.prefix],
            samples=recipe.algorithm.advantage.samples,
            seed=request_seed(request_seed(recipe.seed, state.group.index), state.number) if seeded else None,
            max_tokens=recipe.rollout.max_tokens - len(state.prefix),
        )
        for key, state in enumerate(states)
    ]
    generated = parts.engine.generate(requests, parts.sampling)

    def whole(key: int, found: list[Completion]) -> list[Completion]:
        if not parts.engine.leader:  # the states are the leader's
            return found
        return [join(states[key].prefix, c, parts.engine.text) for c in found]

    return verified(
        ((key, whole(key, found)) for key, found in generated),
        parts.pool,
        [(state.group.index, state.group.problem) for state in states],
        engine=parts.engine,
        weights=parts.verifier_weights,
        gates=gates_of(recipe.verifiers),
        unscored=recipe.verification.unscored,
        timer=parts.timer,
        stopped=lambda: parts.stop.asked,
        phase="states",
    )


def join(prefix: tuple[int, ...], continuation: Completion, text: Callable[[list[int]], str]) -> Completion:
    tokens = np.concatenate([np.asarray(prefix, np.int32), continuation.tokens])
    return Completion(
        tokens=tokens,
        logprobs=np.concatenate([np.full(len(prefix), np.nan, np.float32), continuation.logprobs]),
        text=text(tokens.tolist()),
        finished=continuation.finished,
    )
