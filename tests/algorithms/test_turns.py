"""Turns compared with turns of the same state, worked out by hand; limits and what leaves the statistics."""

import math
from typing import Any

import pytest
import torch
from f1 import make, near
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.advantage_turns import Anchor

NAN = math.nan
# Three episodes of one problem, of 2, 2 and 1 turns. All begin in state 7; second turns do in 9.
TURNS = torch.tensor([2, 2, 1]), torch.tensor([1, 2, 1, 1, 2]), torch.tensor([7, 9, 7, 9, 7])
LENGTHS = torch.tensor([3, 2, 2])


def inputs(rewards: list[float], **more: Any) -> AdvantageInputs:
    return AdvantageInputs(
        rewards_PG=torch.tensor([rewards], dtype=torch.float64),
        lengths_B=LENGTHS,
        **{"turns": TURNS, **more},
    )


def turns(option: Any, given: AdvantageInputs) -> list[float]:
    """One advantage for each turn, after checking that all its tokens share it."""
    assert given.turns is not None
    parts = option(given).split(given.turns[1].tolist())
    assert all((part == part[0]).all() for part in parts)
    return [float(part[0]) for part in parts]


def test_turns_of_one_state_worked_by_hand() -> None:
    """Rewards 1, 0, 0 at the ends; gamma .5: returns .5 1 | 0 0 | 0."""
    option = make("advantage", "step_groups", gamma=0.5, normalise=False)
    given = inputs([1, 0, 0])
    assert option.returns(given).tolist() == [0.5, 1, 0, 0, 0]
    episodes = [2 / 3, -1 / 3, -1 / 3]
    # State 7: .5, 0, 0 with the mean 1/6. State 9: 1, 0 with the mean 1/2.
    steps = [1 / 3, 1 / 2, -1 / 6, -1 / 2, -1 / 6]
    wanted = [episodes[i] + s for i, s in zip([0, 0, 1, 1, 2], steps, strict=True)]
    assert turns(option, given) == near(wanted)
    half = make("advantage", "step_groups", gamma=0.5, normalise=False, omega=0.5)
    assert turns(half, given) == near([w - s / 2 for w, s in zip(wanted, steps, strict=True)])


def test_both_parts_divided_by_their_std() -> None:
    option = make("advantage", "step_groups", gamma=0.5, eps=0.0)
    episode, first, second = 1 / math.sqrt(3), 0.5 / math.sqrt(3), math.sqrt(0.5)  # ddof 1
    wanted = [(2 / 3) / episode + (1 / 3) / first, (2 / 3) / episode + 0.5 / second]
    assert turns(option, inputs([1, 0, 0]))[:2] == near(wanted)


def test_a_lost_episode_learns_from_a_turn_that_did_better_than_another() -> None:
    """Turns earn: the second episode's first turn .5; nothing else but the last of the first."""
    earned = torch.tensor([0, 0, 1, 0.5, 0, 0, 0], dtype=torch.float64)
    option = make("advantage", "step_groups", gamma=1.0, normalise=False)
    given = inputs([0, 0, 0], token_rewards_N=earned)
    assert option.returns(given).tolist() == [1, 1, 0.5, 0, 0]
    found = turns(option, given)
    assert found[2] == near(0.0 + 0.0) and found[4] == near(-0.5 - 0.5)


def test_without_its_own_part_it_is_grpo_and_a_single_turn_counts_twice() -> None:
    given = inputs([1, 0, 0.5])
    grpo: Tensor = make("advantage", "group_zscore")(given)
    assert make("advantage", "step_groups", omega=0.0)(given).tolist() == near(grpo.tolist())
    one = torch.tensor([1, 1, 1]), LENGTHS, torch.tensor([0, 0, 0])
    assert make("advantage", "step_groups")(inputs([1, 0, 0.5], turns=one)).tolist() == near(
        (2 * grpo).tolist()
    )


def test_by_number_turns_are_compared_whatever_their_states() -> None:
    other = TURNS[0], TURNS[1], torch.tensor([1, 2, 3, 4, 5])
    by_turn = make("advantage", "step_groups", anchor=Anchor.turn, normalise=False, gamma=0.5)
    assert turns(by_turn, inputs([1, 0, 0], turns=other)) == near(
        turns(make("advantage", "step_groups", normalise=False, gamma=0.5), inputs([1, 0, 0]))
    )
    alone = make("advantage", "step_groups", normalise=False)
    assert turns(alone, inputs([1, 0, 0], turns=other)) == near([2 / 3, 2 / 3, -1 / 3, -1 / 3, -1 / 3])


def test_states_of_different_prompts_are_different() -> None:
    given = AdvantageInputs(
        rewards_PG=torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64),
        lengths_B=torch.ones(4, dtype=torch.long),
        turns=(
            torch.ones(4, dtype=torch.long),
            torch.ones(4, dtype=torch.long),
            torch.zeros(4, dtype=torch.long),
        ),
    )
    assert make("advantage", "step_groups")(given).tolist() == [0] * 4


def test_episodes_without_a_verdict_and_equal_returns_have_no_part() -> None:
    option = make("advantage", "step_groups", normalise=False, gamma=1.0)
    assert turns(option, inputs([1, NAN, 0])) == near([0.5 + 0.5, 0.5, 0, 0, -0.5 - 0.5])
    assert turns(make("advantage", "step_groups", gamma=1.0), inputs([0.1, 0.1, 0.1])) == [0] * 5


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="step_groups needs turns"):
        make("advantage", "step_groups")(inputs([1, 0, 0], turns=None))
