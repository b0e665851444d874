"""SPO-tree: values of nodes, advantages of edges, and what a level may cost."""

import math
from typing import Any

import pytest
import torch
from f1 import make, near
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs

NAN = math.nan


def tree(*branching: int, tokens: int = 1, **values: Any) -> Any:
    return make("advantage", "tree", branching=list(branching), tokens=tokens, **values)


def edges(option: Any, leaves: list[float], depth: int | None = None) -> list[list[float]]:
    """Advantages along the path of each leaf: a token for each level."""
    depth = depth or len(option.branching)
    rewards = torch.tensor([leaves], dtype=torch.float64)
    lengths = torch.full((len(leaves),), depth)
    places = torch.arange(depth).repeat(len(leaves)) * option.tokens
    found = option(AdvantageInputs(rewards_PG=rewards, lengths_B=lengths, places_N=places))
    return found.view(len(leaves), depth).tolist()


def test_the_worked_tree() -> None:
    """Leaves 1 and 0 under one node, 1 and 1 under the other: V .5 and 1, root .75."""
    option = tree(2, 2)
    root, middle, leaves = option.values(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    assert (root.tolist(), middle.tolist(), leaves.tolist()) == ([[0.75]], [[0.5, 1.0]], [[1, 0, 1, 1]])
    assert edges(option, [1, 0, 1, 1]) == [[-0.25, 0.5], [-0.25, -0.5], [0.25, 0], [0.25, 0]]
    assert option.paths(torch.tensor([[1.0, 0.0, 1.0, 1.0]])).tolist()[1] == [0.75, 0.5, 0.0]


def test_the_worked_tree_divided_by_the_siblings_std() -> None:
    found = edges(tree(2, 2, normalise=True), [1, 0, 1, 1])
    assert [row[0] for row in found] == near([-1, -1, 1, 1])
    assert [row[1] for row in found] == near([1, -1, 0, 0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_along_any_path_advantages_and_the_roots_value_add_up_to_the_reward(
    branching: list[int], data: Any
) -> None:
    if math.prod(branching) < 2:
        branching = [*branching, 2]
    option = tree(*branching)
    leaves = data.draw(st.lists(st.floats(-1, 1), min_size=option.leaves, max_size=option.leaves))
    root = float(option.values(torch.tensor([leaves], dtype=torch.float64))[0])
    for row, reward in zip(edges(option, leaves), leaves, strict=True):
        assert sum(row) + root == pytest.approx(reward, abs=1e-12)


def test_one_level_is_a_group_compared_with_its_mean() -> None:
    """V(parent) has the node in it: (G - 1) / G of the leave-one-out advantage."""
    leaves = [1.0, 0.0, 0.0, 1.0, 0.0]
    inputs = AdvantageInputs(
        rewards_PG=torch.tensor([leaves], dtype=torch.float64),
        lengths_B=torch.tensor([2, 3, 1, 1, 2]),
        places_N=torch.tensor([0, 1, 0, 1, 2, 0, 0, 0, 1]),
    )
    found = tree(5, tokens=9)(inputs)
    assert torch.equal(found, make("advantage", "group_centered")(inputs))
    assert found.tolist() == near((make("advantage", "leave_one_out")(inputs) * 4 / 5).tolist())


def test_one_segment_of_a_chain_is_a_reward_against_the_mean_of_others() -> None:
    """SPO-chain with one segment: r - V(prompt), leave-one-out where V is the mean of the other samples."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    lengths = torch.tensor([2, 2, 2, 2])
    others = (rewards.sum() - rewards) / 3
    values = torch.stack([others.flatten(), torch.full((4,), NAN, dtype=torch.float64)], 1).flatten()
    chain = make("advantage", "segment", interval=9, fixed=True, whiten=False)
    logprobs = torch.full((8,), -1.0, dtype=torch.float64)
    assert chain.boundaries(logprobs, lengths).view(4, 2).tolist() == [[True, False]] * 4
    inputs = AdvantageInputs(
        rewards_PG=rewards, lengths_B=lengths, logprobs_N=logprobs, state_values_N=values
    )
    assert chain(inputs).tolist() == near(make("advantage", "leave_one_out")(inputs).tolist())


def test_a_token_belongs_to_the_segment_it_stands_in() -> None:
    """A leaf has the tokens from its third on, the others are its sibling's; the last level is longer."""
    option = tree(2, 2, tokens=2)
    inputs = AdvantageInputs(
        rewards_PG=torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64),
        lengths_B=torch.tensor([5, 1, 3, 0]),
        places_N=torch.tensor([0, 1, 2, 3, 4, 2, 0, 1, 2]),
    )
    assert option(inputs).tolist() == [-0.25, -0.25, 0.5, 0.5, 0.5, -0.5, 0.25, 0.25, 0]


def test_equal_rewards_have_no_edge_that_trains() -> None:
    """The mean of equal numbers is that number to the last bit."""
    assert edges(tree(3, 3), [0.1] * 9) == [[0.0, 0.0]] * 9
    assert edges(tree(3, 3, normalise=True), [0.1] * 9) == [[0.0, 0.0]] * 9


def test_leaves_without_a_verdict_stay_out_of_the_means() -> None:
    found = edges(tree(2, 2), [1.0, NAN, 0.0, NAN])
    assert found == [[0.5, 0], [0.5, 0], [-0.5, 0], [-0.5, 0]]
    assert edges(tree(2, 2), [NAN] * 4) == [[0.0, 0.0]] * 4
    assert edges(tree(2, 2), [NAN, NAN, 0.0, 1.0]) == [[0, 0], [0, 0], [0, -0.5], [0, 0.5]]


def test_what_a_level_may_cost() -> None:
    option = tree(6, 6, tokens=10, budget=400)
    assert option.children(0, parents=1, sampled=0, limit=10) == 6
    assert option.children(1, parents=6, sampled=60, limit=20) == 2  # 6 * 3 * 20 would make it 420
    assert option.children(1, parents=6, sampled=60, limit=19) == 2  # of 6 only its divisors: 402
    assert option.children(1, parents=6, sampled=60, limit=18) == 3
    assert option.children(1, parents=6, sampled=390, limit=18) == 1
    assert tree(6, 6).children(1, parents=6, sampled=10**9, limit=99) == 6
    assert (option.limit(0, 50), option.limit(1, 50)) == (10, 40)
    assert option.most_tokens(50) == 6 * 10 + 36 * 40


def test_lengths_left_open_come_from_the_longest_response() -> None:
    option = make("advantage", "tree")
    with pytest.raises(ValueError, match="call resolve"):
        option.limit(0, 40)
    option.resolve(40)
    assert [option.limit(level, 40) for level in range(3)] == [13, 13, 14]


def test_missing_inputs_are_named() -> None:
    inputs = AdvantageInputs(rewards_PG=torch.ones(1, 4), lengths_B=torch.ones(4, dtype=torch.long))
    with pytest.raises(ValueError, match="tree needs places_N"):
        tree(2, 2)(inputs)


def test_fixed_segments_begin_with_the_response_whatever_the_probabilities() -> None:
    chain = make("advantage", "segment", interval=2, fixed=True, whiten=False)
    lengths = torch.tensor([3, 0, 2])
    logprobs: Tensor = torch.tensor([0.99, 0.5, 0.99, 0.99, 0.5], dtype=torch.float64).log()
    assert chain.boundaries(logprobs, lengths).tolist() == [True, False, True, True, False]
    values = torch.tensor([0.25, NAN, 0.5, 0.0, NAN], dtype=torch.float64)
    inputs = AdvantageInputs(
        rewards_PG=torch.tensor([[1.0], [1.0], [0.5]], dtype=torch.float64),
        lengths_B=lengths,
        logprobs_N=logprobs,
        state_values_N=values,
    )
    assert chain(inputs).tolist() == [0, 0.25, 0, 0, 0.5]
