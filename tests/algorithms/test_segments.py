"""SPO: segments of a response, the values of the states between them, and what is made of both."""

import math
from typing import Any

import pytest
import torch
from f1 import advantages as advantages_of
from f1 import aggregation, flat, make, near
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.advantage_segments import segment_advantages

NAN = math.nan
# The chain worked out for SPO: an interval of 2, values .4 and .7 before tokens 1 and 4, reward 1.
CHAIN = flat([0.99, 0.5, 0.95, 0.3, 0.8, 0.99, 0.2]).log()
VALUES = flat([NAN, 0.4, NAN, NAN, 0.7, NAN, NAN])
SEVEN = torch.tensor([7])


def estimate(
    option: Any, values_N: Tensor, logprobs_N: Tensor, rewards: list[list[float]], lengths: Any
) -> Any:
    inputs = AdvantageInputs(
        rewards_PG=torch.tensor(rewards, dtype=torch.float64),
        lengths_B=lengths,
        logprobs_N=logprobs_N,
        state_values_N=values_N,
    )
    return option(inputs).tolist()


def test_the_worked_chain() -> None:
    option = make("advantage", "segment", interval=2, whiten=False)
    # The authors name the token that ends a segment: 0 and 3.
    assert option.boundaries(CHAIN, SEVEN).nonzero().flatten().tolist() == [1, 4]
    advantages = estimate(option, VALUES, CHAIN, [[1.0]], SEVEN)
    assert advantages == near([0, 0.3, 0, 0.3, 0.3, 0, 0.3])
    keep_N = make("token_weights", "low_probability")(None, CHAIN, SEVEN, torch.tensor([False]))
    assert keep_N.int().tolist() == [0, 1, 0, 1, 1, 0, 1]
    weights_N = aggregation("token_mean")(keep_N, SEVEN)
    loss_N, _ = make("loss", "clipped")(CHAIN, CHAIN, torch.tensor(advantages), SEVEN)
    assert float((loss_N * weights_N).sum()) == near(-0.3)
    # All four trained tokens have the same advantage, and whitening leaves nothing of it.
    assert estimate(make("advantage", "segment", interval=2), VALUES, CHAIN, [[1.0]], SEVEN) == near([0] * 7)


def test_the_worked_tree() -> None:
    """SPO-tree, two edges at each node. Leaves 1 and 0 under one node, 1 and 1 under the other."""
    leaves = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    nodes = leaves.mean(1)
    root = nodes.mean()
    paths = torch.stack([root.expand(4), nodes.repeat_interleave(2)], 1)
    found = segment_advantages(paths.flatten(), leaves.flatten(), torch.tensor([2] * 4)).view(4, 2)
    assert found.tolist() == [[-0.25, 0.5], [-0.25, -0.5], [0.25, 0], [0.25, 0]]
    assert (found.sum(1) + root).tolist() == leaves.flatten().tolist()
    # Siblings compared with each other: the same edges.
    centred, normed = make("advantage", "group_centered"), make("advantage", "group_zscore", ddof=0, eps=1e-8)
    two, four = torch.ones(2, dtype=torch.long), torch.ones(4, dtype=torch.long)
    assert advantages_of(centred, nodes[None], two).tolist() == [-0.25, 0.25]
    assert advantages_of(centred, leaves, four).tolist() == [0.5, -0.5, 0, 0]
    assert advantages_of(normed, nodes[None], two).tolist() == near([-1, 1])
    assert advantages_of(normed, leaves, four).tolist() == near([1, -1, 0, 0])
    assert make("filter", "zero_signal")(leaves, leaves).tolist() == [True, False]


def test_a_segment_may_begin_with_the_response() -> None:
    logprobs = flat([0.5, 0.99, 0.5, 0.5]).log()
    option = make("advantage", "segment", interval=2, whiten=False)
    assert option.boundaries(logprobs, torch.tensor([4])).tolist() == [True, False, False, True]
    advantages = estimate(option, flat([0.25, NAN, NAN, 0.5]), logprobs, [[0.0]], torch.tensor([4]))
    assert advantages == near([0.25, 0, 0.25, -0.5])


def test_each_response_counts_its_own_tokens_and_keeps_its_own_values() -> None:
    low, high = math.log(0.5), math.log(0.95)
    lengths = torch.tensor([3, 0, 2, 2, 1])
    logprobs = flat([low, low, low], [high, high], [high, low], [low])
    option = make("advantage", "segment", interval=2, whiten=False)
    begins = option.boundaries(logprobs, lengths)
    assert begins.tolist() == [True, False, True, False, False, False, True, True]
    values = torch.full((8,), NAN, dtype=torch.float64).masked_scatter(begins, flat([0.2, 0.6, 0.3, 0.9]))
    # The first token of the fourth response comes before anything was measured.
    advantages = estimate(option, values, logprobs, [[1.0], [1.0], [0.0], [0.5], [1.0]], lengths)
    assert advantages == near([0.4, 0.4, 0.4, 0, 0, 0, 0.2, 0.1])


def test_whitening_is_over_the_tokens_that_train() -> None:
    values, logprobs = flat([0.5, 0.5, 0.0]), flat([0.5, 0.95, 0.4]).log()
    option = make("advantage", "segment", interval=1)
    mean, std = 0.5, math.sqrt(0.5)  # of 0 and 1, ddof 1; the middle token's advantage of -.5 stays out
    advantages = estimate(option, values, logprobs, [[1.0]], torch.tensor([3]))
    assert advantages == near([(0 - mean) / std, 0, (1 - mean) / std])


def test_missing_verdicts() -> None:
    low = math.log(0.5)
    logprobs, lengths = flat([low, low], [low, low]), torch.tensor([2, 2])
    option = make("advantage", "segment", interval=1, whiten=False)
    # A state whose continuations had no verdict joins its neighbours; a response without one teaches nothing.
    advantages = estimate(option, flat([0.5, NAN], [0.2, 0.4]), logprobs, [[1.0, NAN]], lengths)
    assert advantages == near([0.5, 0.5, 0, 0])
    assert estimate(option, torch.full((4,), NAN), logprobs, [[1.0, 0.0]], lengths) == [0] * 4


def test_a_token_the_engine_calls_impossible() -> None:
    option = make("advantage", "segment", whiten=False)
    assert option.boundaries(torch.tensor([-math.inf, 0.0]), torch.tensor([2])).tolist() == [True, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.none() | st.floats(0, 1), max_size=6), min_size=1, max_size=5), st.floats(0, 1))
def test_segments_of_a_response_add_up_to_reward_minus_first_value(rows: list[Any], reward: float) -> None:
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.tensor([NAN if v is None else v for row in rows for v in row], dtype=torch.float64)
    rewards = torch.full((len(rows),), reward, dtype=torch.float64)
    found = segment_advantages(values, rewards, lengths).split(lengths.tolist())
    for row, advantages in zip(rows, found, strict=True):
        begins = [t for t, v in enumerate(row) if v is not None]
        assert (advantages[: begins[0]] if begins else advantages).tolist() == [0] * len(
            row[: begins[0]] if begins else row
        )
        if begins:
            assert sum(float(advantages[t]) for t in begins) == pytest.approx(reward - row[begins[0]])


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="segment needs state_values_N"):
        make("advantage", "segment")(
            AdvantageInputs(rewards_PG=torch.ones(1, 1), lengths_B=torch.tensor([1]))
        )
