"""Worked numbers, token by token and group by group: F1, PPO, HA-DW, and what leaves a loss alone."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from f1 import (
    LENGTHS,
    NEW,
    OLD,
    REF,
    ROLL,
    ZSCORED,
    advantages,
    aggregation,
    algorithm,
    flat,
    make,
    near,
    total,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_rates import kept, overstated
from torch import Tensor

from rlvr_cli.algorithms import Algorithm
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.kl import Estimator
from rlvr_cli.algorithms.objective import policy_loss
from rlvr_cli.algorithms.reweight import soft_anchor
from rlvr_cli.engine.pack import alone, collate

HARD, EASY = flat([1, 0, 0, 0, 0, 0, 0, 0]), flat([0, 1, 1, 1, 1, 1, 1, 1])
EIGHT = torch.ones(8, dtype=torch.long)


def six(expected: list[float]) -> Any:
    return pytest.approx(expected, abs=1e-6)


# -- F1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("high", "first"), [(0.2, [-1.039229, -1.039229]), (0.28, [-1.057764, -1.108511])])
def test_clipped_loss_of_each_token(high: float, first: list[float]) -> None:
    loss_N, _ = make("loss", "clipped", clip_ratio_high=high)(NEW, OLD, ZSCORED, LENGTHS)
    rest = [0.823787, 0.692819, 1.169010, 0.866024, 1.291956, 0.823787, 0.692819, -0.874728]
    assert loss_N.tolist() == six([*first, *rest])


def test_mismatch_weights_of_each_token() -> None:
    icepop = make("mismatch", "mask", low=0.5, high=5.0)(OLD, ROLL, LENGTHS).tolist()
    assert icepop == six([1, 1.105171, 1.105171, 1, 0, 1, 1, 0.904837, 1, 1])
    truncated = make("mismatch", "truncate", cap=2.0)(OLD, ROLL, LENGTHS)
    assert torch.equal(truncated, (OLD - ROLL).exp())  # none is above 2
    assert truncated.tolist() == six([1, 1.105171, 1.105171, 1, 0.406570, 1, 1, 0.904837, 1, 1])


def test_the_mismatch_weight_leaves_the_kl_alone() -> None:
    kl = make("kl", "loss", coef=0.04, estimator=Estimator.k3)
    recipe = algorithm(mismatch=make("mismatch", "truncate", cap=2.0), kl=kl)
    value = float(total(recipe, ZSCORED, rollout_N=ROLL, ref_N=REF))
    assert value == pytest.approx(0.26261653, abs=1e-7)  # .261224 + .04 * .034813


# -- ratio 1 -------------------------------------------------------------------------------------------


def on_policy(recipe: Algorithm, rewards: Tensor, lengths: Tensor) -> tuple[float, Tensor]:
    """Loss and its gradient with respect to the log-probabilities."""
    a_N = advantages(recipe.advantage, rewards, lengths)
    new = torch.full_like(a_N, -1.0).requires_grad_()
    loss, _ = policy_loss(
        recipe,
        new_N=new,
        entropy_N=None,
        old_N=new.detach(),
        rollout_N=new.detach(),
        ref_N=None,
        advantages_N=a_N,
        weights_N=recipe.aggregation(torch.ones(len(a_N)).bool(), lengths),
        lengths_B=lengths,
    )
    loss.backward()
    return loss.item(), new.grad


SAMPLES = st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 9)), min_size=4, max_size=4)


@pytest.mark.parametrize("loss", ["clipped", "sequence_ratio"])
@settings(max_examples=100, deadline=None)
@given(st.lists(SAMPLES, min_size=1, max_size=3))
def test_the_mean_of_sequence_means_is_0_whatever_the_rewards(
    loss: str, groups: list[list[tuple[float, int]]]
) -> None:
    samples = torch.tensor(groups, dtype=torch.float64)
    rewards, lengths = samples[..., 0], samples[..., 1].flatten().long()
    value, _ = on_policy(algorithm(loss=loss, aggregation="seq_mean_token_mean"), rewards, lengths)
    assert abs(value) <= 1e-6


@pytest.mark.parametrize(
    ("advantage", "mode", "expected"),
    [
        ("group_zscore", "seq_mean_token_mean", [0.866024 / 40, 0.866024 / 400]),
        ("group_centered", "constant", [0.5 / 400, 0.5 / 400]),
    ],
)
def test_length_bias_of_the_gradient(advantage: str, mode: str, expected: list[float]) -> None:
    """Wrong answers of 10 and 100 tokens: GRPO punishes each of the hundred a tenth as much."""
    lengths, rewards = torch.tensor([10, 100, 3, 3]), flat([0, 0, 1, 1])[None]
    recipe = algorithm(advantage=advantage, aggregation=aggregation(mode, 100))
    _, slope = on_policy(recipe, rewards, lengths)
    short, long = slope[:10], slope[10:110]
    assert [*short.tolist(), *long.tolist()] == pytest.approx(
        [expected[0]] * 10 + [expected[1]] * 100, abs=1e-7
    )
    assert float(short[0] / long[0]) == near(expected[0] / expected[1])


# -- PPO -----------------------------------------------------------------------------------------------


def gae(values_N: Tensor, lengths_B: Tensor, token_rewards_N: Tensor | None, **values: float) -> list[float]:
    inputs = AdvantageInputs(
        rewards_PG=flat([1.0])[None], lengths_B=lengths_B, values_N=values_N, token_rewards_N=token_rewards_N
    )
    return make("advantage", "gae", whiten=False, **values)(inputs).tolist()


def test_kl_in_the_reward_of_each_token() -> None:
    old, ref = flat([-0.5, -1.0, -0.2]), flat([-0.6, -0.8, -0.2])
    kl = make("kl", "reward", coef=0.1)
    assert kl.estimator is Estimator.k1
    # With V = 0 and lambda 0 a token's advantage is its reward.
    found = gae(torch.zeros_like(old), torch.tensor([3]), kl.token_rewards(old, ref), lam=0.0)
    assert found == six([-0.01, 0.02, 1.0])


def test_gae_skips_tool_tokens() -> None:
    """A prompt's token, then a, tool, b; the states before these three are worth .2, .9 and .6."""
    trained = np.array([False, True, False, True])
    tokens = np.arange(4, dtype=np.int32)
    micro = collate(alone([tokens], [0]), [tokens], [trained], np.array([0]))
    values_n = flat([0.2, 0.9, 0.6, 5.0])[micro.predictors_n]
    assert gae(values_n, micro.lengths_b, None, lam=0.95) == six([0.78, 0.4])


# -- SPO -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_token_as_probable_as_rho_decides_nothing(dtype: torch.dtype) -> None:
    edge = torch.tensor([math.log(0.9)], dtype=dtype)
    logprobs = torch.cat([edge, edge.nextafter(torch.tensor([-1.0], dtype=dtype))])
    assert make("advantage", "segment", rho=0.9).decides(logprobs).tolist() == [False, True]
    trains = make("token_weights", "low_probability", rho=0.9)
    assert trains(None, logprobs, torch.tensor([2]), torch.tensor([False])).tolist() == [False, True]


# -- HA-DW ---------------------------------------------------------------------------------------------


def test_advantages_of_one_right_and_of_one_wrong_answer() -> None:
    option = make("advantage", "group_zscore")
    assert advantages(option, HARD[None], EIGHT).tolist() == six([2.474867, *[-0.353552] * 7])
    assert advantages(option, EASY[None], EIGHT).tolist() == six([-2.474867, *[0.353552] * 7])


def test_step_of_the_soft_anchor() -> None:
    assert soft_anchor([0.30, 0.34, 0.38], 1.38, eta=1.0) - 0.38 == pytest.approx(0.0326599, abs=1e-7)


def test_difficulty_is_measured_in_correctness() -> None:
    """Rewards of -1 and 1."""
    option = make("reweight", "history_difficulty")
    option.observe(0.4)
    for correct, expected in ((HARD, [4.235709, -0.349113]), (EASY, [-5.173507, 0.285830])):
        rewards, correct_PG = 2 * correct[None] - 1, correct[None]
        before = advantages(make("advantage", "group_zscore"), rewards, EIGHT)
        assert option(before, rewards, correct_PG, EIGHT)[:2].tolist() == near(expected)
    # The first step's anchor is its own mean correctness, .75.
    correct_PG = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    before = advantages(make("advantage", "group_centered"), 2 * correct_PG - 1, EIGHT[:4])
    first = make("reweight", "history_difficulty", scale=1.0)(
        before, 2 * correct_PG - 1, correct_PG, EIGHT[:4]
    )
    assert first.tolist() == six([math.exp(0.25), -math.exp(-0.25), 0, 0])


@pytest.mark.parametrize(
    ("p", "size", "expected"),
    [(0.25, 4, 0.1120690), (0.1, 8, 0.0755825), (0.5, 8, 0.0), (0.75, 4, -0.1120690)],
)
def test_bias_of_the_pass_rate_in_kept_groups(p: float, size: int, expected: float) -> None:
    rates, weights = kept(flat([p]), size)
    assert float((weights * rates).sum()) - p == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("size", range(2, 17))
def test_lemma_2_and_theorem_1(size: int) -> None:
    p = torch.arange(1, 100, dtype=torch.float64) / 100
    rates, weights = kept(p, size)
    bias = weights @ rates - p
    none, every = (1 - p) ** size, p**size
    lemma = (p * none + p ** (size + 1) - every) / (1 - none - every)
    assert bias.tolist() == pytest.approx(lemma.tolist(), abs=1e-12)
    assert torch.equal(bias.round(decimals=9).sign(), (0.5 - p).sign())


@pytest.mark.parametrize("size", range(2, 9))
def test_corollaries(size: int) -> None:
    """How often a kept group's advantages are too small, for p spread evenly over (0, upper)."""
    assert overstated(0.5, size) > 0.63
    assert overstated(0.25, size) > 0.78
    assert overstated(0.125, size) == near(1)
    if size >= 6:
        assert overstated(2 / size, size) == near({6: 0.78116, 7: 0.78114, 8: 0.78113}[size])
    p = flat([0.999 / size, 1 - 0.999 / size])
    rates, weights = kept(p, size)
    sure = torch.stack([rates > p[0], rates < p[1]])
    assert (weights * sure).sum(1).tolist() == near([1, 1])
