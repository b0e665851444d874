"""Advantages, the critic's loss and the reweighting of advantages."""

import math
from typing import Any

import pytest
import torch
from f1 import REWARDS, advantages, flat, make, near, per_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs, Scale
from rlvr_cli.algorithms.advantage_tokens import Baseline, WhitenLevel, value_loss, whiten
from rlvr_cli.algorithms.reweight import soft_anchor

NAN = float("nan")
GROUP_OPTIONS = ["group_zscore", "group_centered", "leave_one_out", "maxrl"]


def grid(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_group_of_eight() -> None:
    rewards, lengths = grid([1, 0, 0, 1, 0, 0, 0, 0]), torch.ones(8, dtype=torch.long)
    sample = per_sample(advantages(make("advantage", "group_zscore"), rewards, lengths), lengths)
    assert sample[:2] == near([1.620182, -0.540061])
    population = make("advantage", "group_zscore", ddof=0, eps=1e-8)
    assert per_sample(advantages(population, rewards, lengths), lengths)[:2] == near([1.732051, -0.577350])


def test_zscore_by_the_batch() -> None:
    rewards, lengths = grid([1, 0], [1, 1]), torch.ones(4, dtype=torch.long)
    option = make("advantage", "group_zscore", scale_by=Scale.batch, eps=0.0)
    assert advantages(option, rewards, lengths).tolist() == near(
        [1.0, -1.0, 0.0, 0.0]
    )  # std of 1, 0, 1, 1 is 0.5


def test_maxrl() -> None:
    rewards, lengths = grid([1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]), torch.ones(12, dtype=torch.long)
    values = advantages(make("advantage", "maxrl"), rewards, lengths).tolist()
    assert values == near([3, -1, -1, -1, *[0] * 8])


@pytest.mark.parametrize("name", GROUP_OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0, -0.7])
def test_equal_rewards_have_no_signal(name: str, dtype: torch.dtype, reward: float) -> None:
    values = advantages(
        make("advantage", name), torch.full((2, 3), reward, dtype=dtype), torch.tensor([2] * 6)
    )
    assert values.dtype == dtype
    assert (values == 0).all()


@pytest.mark.parametrize("name", [*GROUP_OPTIONS, "batch_whitened"])
def test_missing_verdicts_are_ignored(name: str) -> None:
    lengths = torch.tensor([1, 2, 3, 1, 2, 3, 1, 2])
    with_nan = per_sample(
        advantages(make("advantage", name), grid([1, NAN, 0, 0], [NAN] * 4), lengths), lengths
    )
    without = advantages(make("advantage", name), grid([1, 0, 0]), torch.tensor([1, 3, 1]))
    assert [with_nan[i] for i in (0, 2, 3)] == near(per_sample(without, torch.tensor([1, 3, 1])))
    assert [with_nan[i] for i in (1, 4, 5, 6, 7)] == [0] * 5


@pytest.mark.parametrize("name", [*GROUP_OPTIONS, "batch_whitened", "reinforce"])
def test_groups_of_one_and_empty_responses(name: str) -> None:
    values = advantages(make("advantage", name), grid([1.0], [0.0]), torch.tensor([2, 1]))
    assert values.tolist() == ([1, 1, 0] if name == "reinforce" else [0, 0, 0])
    lengths = torch.tensor([0, 2, 0, 1])
    assert advantages(make("advantage", name), REWARDS, lengths).isfinite().all()
    assert advantages(make("advantage", name), REWARDS, torch.zeros(4, dtype=torch.long)).shape == (0,)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=4))
def test_group_advantages_sum_to_zero_and_do_not_see_other_groups(rows: list[list[float]]) -> None:
    lengths = torch.ones(3 * len(rows), dtype=torch.long)
    for name in ("group_zscore", "group_centered", "leave_one_out"):
        option = make("advantage", name)
        together = advantages(option, grid(*rows), lengths)
        assert together.view(-1, 3).sum(1).tolist() == pytest.approx([0] * len(rows), abs=1e-6)
        alone = [advantages(option, grid(row), lengths[:3]) for row in rows]
        assert torch.equal(together, torch.cat(alone))


RB = grid([1, 0, 0, 0], [1, 1, 0, 1])
RB_LENGTHS = torch.tensor([2, 4, 3, 1, 5, 1, 2, 2])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [1.860521, -0.620174]),
        ({"ddof": 1}, [1.813412, -0.604471]),
        ({"level": WhitenLevel.sequence}, [1.732051, -0.577350]),
    ],
)
def test_reinforce_pp_baseline(values: dict[str, Any], expected: list[float]) -> None:
    high, low = expected
    result = per_sample(advantages(make("advantage", "batch_whitened", **values), RB, RB_LENGTHS), RB_LENGTHS)
    assert result == near([high, low, low, low, -low, -low, -high, -low])


def test_batch_whitening_does_not_depend_on_the_reward_coding() -> None:
    option = make("advantage", "batch_whitened")
    assert torch.allclose(advantages(option, RB, RB_LENGTHS), advantages(option, 2 * RB - 1, RB_LENGTHS))


def test_reinforce_pp_whitens_rewards_to_go() -> None:
    rewards, lengths = grid([1.0], [0.0]), torch.tensor([2, 1])
    token_rewards = flat([-0.25, -0.5], [-1.0])
    plain = make("advantage", "reinforce")(_inputs(rewards, lengths, token_rewards))
    assert plain.tolist() == near([0.25, 0.5, -1.0])
    whitened = make("advantage", "batch_whitened", baseline=Baseline.none)(
        _inputs(rewards, lengths, token_rewards)
    )
    expected = (plain - plain.mean()) / plain.std(correction=0)
    assert whitened.tolist() == near(expected.tolist())


def test_token_rewards_count_for_group_estimators() -> None:
    # As rewards (1 - 0.75, 0 - 1): the group's mean is -0.375.
    rewards, lengths = grid([1.0, 0.0]), torch.tensor([2, 1])
    values = make("advantage", "group_centered")(_inputs(rewards, lengths, flat([-0.25, -0.5], [-1.0])))
    assert values.tolist() == near([0.625, 0.625, -0.625])


def _inputs(rewards: Tensor, lengths: Tensor, token_rewards: Tensor | None, **more: Any) -> AdvantageInputs:
    return AdvantageInputs(rewards_PG=rewards, lengths_B=lengths, token_rewards_N=token_rewards, **more)


@pytest.mark.parametrize(
    ("gamma", "lam", "expected", "returns"),
    [
        (1.0, 0.95, [0.756, 0.48, 0.4], [0.956, 0.98, 1.0]),
        (1.0, 1.0, [0.8, 0.5, 0.4], [1.0, 1.0, 1.0]),
        (0.99, 0.95, [0.737223, 0.4702, 0.4], [0.937223, 0.9702, 1.0]),
    ],
)
def test_gae(gamma: float, lam: float, expected: list[float], returns: list[float]) -> None:
    option = make("advantage", "gae", gamma=gamma, lam=lam, whiten=False)
    # A second sequence shows that neighbours do not leak into each other.
    inputs = _inputs(grid([1.0], [0.5]), torch.tensor([3, 1]), None, values_N=flat([0.2, 0.5, 0.6], [0.1]))
    assert option(inputs).tolist() == near([*expected, 0.4])
    assert option.estimate(inputs)[1].tolist() == near([*returns, 0.5])


def test_gae_whitened() -> None:
    inputs = _inputs(grid([1.0]), torch.tensor([3]), None, values_N=flat([0.2, 0.5, 0.6]))
    assert make("advantage", "gae", lam=0.95)(inputs).tolist() == near([1.127910, -0.349795, -0.778115])
    x_N = flat([0.756, 0.48, 0.4])
    assert whiten(x_N, torch.ones(3), ddof=0).tolist() == near([1.381401, -0.428409, -0.952992])
    assert whiten(x_N[:1], torch.ones(1), ddof=1).tolist() == [0]


def test_gae_of_a_truncated_response() -> None:
    values, lengths = flat([0.2, 0.5], [0.3], [], [0.1, 0.1, 0.1]), torch.tensor([2, 1, 0, 3])
    finished = torch.tensor([False, True, False, True])
    inputs = _inputs(torch.zeros(4, 1), lengths, None, values_N=values, finished_B=finished)
    option = make("advantage", "gae", whiten=False, bootstrap_truncated=True)
    assert option(inputs).tolist() == near([0.3, 0.0, -0.3, -0.1, -0.1, -0.1])  # V = .5 again after the end
    ended = make("advantage", "gae", whiten=False)
    assert ended(inputs).tolist() == near([-0.2, -0.5, -0.3, -0.1, -0.1, -0.1])


def test_gae_without_critic_signal_is_reward_to_go() -> None:
    rewards, lengths = grid([1.0, NAN], [0.0, 0.5]), torch.tensor([3, 2, 1, 2])
    token_rewards = torch.linspace(-1, 1, 8, dtype=torch.float64)
    zeros = torch.zeros(8, dtype=torch.float64)
    gae = make("advantage", "gae", whiten=False)(_inputs(rewards, lengths, token_rewards, values_N=zeros))
    assert torch.allclose(gae, make("advantage", "reinforce")(_inputs(rewards, lengths, token_rewards)))
    assert gae[3:5].tolist() == [0, 0]


def test_value_loss() -> None:
    values, old, returns = flat([0.9]), flat([0.5]), flat([1.0])
    assert value_loss(values, old, returns, 0.2).item() == near(0.045)
    assert value_loss(values, old, returns, None).item() == near(0.005)


def weighted(correct: list[float], anchor: float, **values: Any) -> list[float]:
    option = make("reweight", "history_difficulty", **values)
    option.load({"observed": [anchor], "beliefs": [anchor]})
    rewards, lengths = grid(correct), torch.ones(8, dtype=torch.long)
    a_N = advantages(make("advantage", "group_zscore"), rewards, lengths)
    return option(a_N, rewards, rewards, lengths).tolist()


def test_history_difficulty_weights() -> None:
    hard = weighted([1, 0, 0, 0, 0, 0, 0, 0], anchor=0.4)
    assert hard[:2] == near([4.235709, -0.349113])
    assert hard[0] / 2.474867 == near(1.711490)
    assert hard[1] / -0.353552 == near(0.987444)
    easy = weighted([0, 1, 1, 1, 1, 1, 1, 1], anchor=0.4)
    assert easy[:2] == near([-5.173507, 0.285830])
    official = weighted([1, 0, 0, 0, 0, 0, 0, 0], anchor=0.4, scale=1.5)
    assert official[0] / 2.474867 == near(1.974796)
    assert official[1] / -0.353552 == near(1.139358)


def test_history_difficulty_anchor() -> None:
    assert soft_anchor([0.30, 0.34, 0.38], 0.5, eta=1.0) == near(0.3839192)
    option = make("reweight", "history_difficulty", window=3)
    for y in (0.9, 0.3, 0.4, NAN, 0.5):
        option.observe(y)
    assert option.beliefs[-1] == near(0.4)  # the mean of the last three that said something
    soft = make("reweight", "history_difficulty", window=3, hard=False)
    soft.load({"observed": [0.3, 0.38, 0.46], "beliefs": [0.30, 0.34, 0.38]})
    soft.observe(0.5)
    assert soft.beliefs == near([0.34, 0.38, 0.3839192])
    warm = make("reweight", "history_difficulty", window=3, hard=False)
    for y in (0.2, 0.4):
        warm.observe(y)
    assert warm.beliefs == near([0.2, 0.3])


def test_a_soft_anchor_of_equal_beliefs_moves_on() -> None:
    option = make("reweight", "history_difficulty", window=3, hard=False)
    for _ in range(5):
        option.observe(0.0)  # a hard start
    option.observe(0.6)
    assert option.beliefs == near([0.0, 0.0, 0.2])
    for _ in range(200):
        option.observe(0.6)
    assert option.beliefs[-1] == pytest.approx(0.6, abs=0.1)


def test_history_difficulty_state_and_first_step() -> None:
    option = make("reweight", "history_difficulty", scale=1.0)
    correct, lengths = grid([1, 0], [1, 1], [NAN, NAN]), torch.tensor([1, 2, 1, 0, 1, 1])
    a_N = advantages(make("advantage", "group_centered"), correct, lengths)
    first = option(a_N, correct, correct, lengths)  # anchor: the step's own mean, .75; pass rate .5
    assert first.tolist() == near([0.5 * math.exp(0.25), *[-0.5 * math.exp(-0.25)] * 2, 0, 0, 0])
    option.observe(0.75)
    other = make("reweight", "history_difficulty", scale=1.0)
    other.load(option.state())
    assert torch.equal(other(a_N, correct, correct, lengths), option(a_N, correct, correct, lengths))
    assert other.state() == option.state() == {"observed": [0.75], "beliefs": [0.75]}
