"""Rewards of single turns, at the tokens that end them (verifier `environment`, credit=turn)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.algorithms.segments import segment_sum
from rlvr_cli.core.types import Completion, Group
from rlvr_cli.verifiers.environment import by_turn


def turn_rewards(groups: list[Group], lengths_B: Tensor, verifiers: Mapping[str, Any]) -> Tensor | None:
    """float64, 0 but at the last token of each turn that was rewarded: _N. None where no verifier asks."""
    weights = {name: verifier.weight for name, verifier in verifiers.items() if by_turn(verifier)}
    if not weights:
        return None
    found_N = torch.zeros(int(lengths_B.sum()), dtype=torch.float64)
    at = 0
    for group in groups:
        weight = next((weights[name] for name in group.problem.verifiers if name in weights), 0.0)
        for completion in group.completions:
            for place, reward in _ends(completion):
                found_N[at + place] += weight * reward
            at += completion.length
    return found_N


def turns_of(groups: list[Group], advantage: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """As `AdvantageInputs.turns` has them; None where the option does not ask. One answer is one turn."""
    if not getattr(advantage, "needs_turns", False):
        return None
    counts, lengths, states = [], [], []
    for completion in (c for group in groups for c in group.completions):
        turns = completion.episode.turns if completion.episode is not None else []
        counts.append(max(1, len(turns)))
        lengths += [turn.end - turn.begin for turn in turns] or [completion.length]
        states += [turn.state for turn in turns] or [0]
    return torch.tensor(counts), torch.tensor(lengths), torch.tensor(states)


def without_turns(rewards_PG: Tensor, earned_N: Tensor | None, lengths_B: Tensor) -> Tensor:
    """What of each sample's reward does not stand at one of its turns."""
    if earned_N is None:
        return rewards_PG
    return rewards_PG - segment_sum(earned_N, lengths_B).view_as(rewards_PG)


def _ends(completion: Completion) -> list[tuple[int, float]]:
    """(place among the sample's sampled tokens, reward) of each rewarded turn."""
    episode, sampled, found = completion.episode, 0, []
    if episode is None or episode.failure is not None:
        return []
    for turn in episode.turns:
        sampled += turn.end - turn.begin
        if turn.reward is not None and sampled:
            found.append((sampled - 1, turn.reward))
    return found
