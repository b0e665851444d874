"""Pairs of a run's own samples: which are made, and that their advantages are the gradient of the loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from f1 import algorithm
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.advantage_pairs import OnlinePairs, Pairing
from rlvr_cli.algorithms.aggregation import Sum
from rlvr_cli.algorithms.check import check
from rlvr_cli.algorithms.preference import Sigmoid
from rlvr_cli.algorithms.segments import segment_sum

NAN = float("nan")


def inputs(rewards: list[list[float]], finished: list[bool] | None = None, **more: Any) -> AdvantageInputs:
    count = sum(map(len, rewards))
    return AdvantageInputs(
        rewards_PG=torch.tensor(rewards, dtype=torch.float64),
        lengths_B=torch.arange(count) % 3 + 1,
        finished_B=None if finished is None else torch.tensor(finished),
        **more,
    )


def pairs(
    pairing: str, *rewards: list[float], finished: list[bool] | None = None
) -> list[tuple[int, int, float]]:
    found, _ = OnlinePairs(pairing=Pairing(pairing)).matches(inputs([*rewards], finished))
    return found


def test_all_pairs_count_as_much_as_one() -> None:
    assert [pair[:2] for pair in pairs("all", [1, 0, 0, 1])] == [(0, 1), (0, 2), (3, 1), (3, 2)]
    assert {pair[2] for pair in pairs("all", [1, 0, 0, 1])} == {0.25}
    for right in range(9):
        row = [1.0] * right + [0.0] * (8 - right)
        assert len(pairs("all", row)) == right * (8 - right)
        assert len(pairs("min", row)) == min(right, 8 - right)
        assert len(pairs("best_worst", row)) == len(pairs("one", row)) == (0 < right < 8)


def test_which_samples_are_compared() -> None:
    graded = [0.2, 0.9, NAN, 0.1, 0.9, 0.5]
    assert pairs("best_worst", graded) == [(1, 3, 1.0)]  # of equals the first
    assert pairs("one", graded) == [(1, 0, 1.0)]
    assert pairs("min", graded) == [(1, 3, 1.0), (4, 0, 1.0)]
    assert pairs("min", [0, 1], [1, 1], [1, 0]) == [(1, 0, 1.0), (4, 5, 1.0)]


def test_a_sample_that_was_cut_off_is_never_the_better_one() -> None:
    found, cut = OnlinePairs().matches(inputs([[1, 0.5, 0, 0]], [False, True, True, False]))
    assert found == [(1, 2, 1.0)] and cut == 1
    found, cut = OnlinePairs().matches(inputs([[1, 0, 0, 0]], [False, True, True, True]))
    assert not found and cut == 1
    assert pairs("all", [1, 0], finished=[True, False]) == [(0, 1, 1.0)]  # as the worse one it may be


@pytest.mark.parametrize("fields", [{}, {"pairing": Pairing.all, "sft_coef": 0.5, "margin_coef": 0.2}])
def test_advantages_are_the_gradient_of_the_loss(fields: dict[str, Any]) -> None:
    """Summed as loss=reinforce and aggregation=sum do, against autograd of DPO on the same pairs."""
    rewards = [[1.0, 0.0, 0.5], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    torch.manual_seed(0)
    lengths_B = inputs(rewards).lengths_B
    old_N, ref_N = (-torch.rand(int(lengths_B.sum()), dtype=torch.float64) for _ in range(2))
    option = OnlinePairs(**fields)
    given = inputs(rewards, old_logprobs_N=old_N, ref_logprobs_N=ref_N)
    advantages_N = option(given)

    new_N = old_N.clone().requires_grad_()
    ((Sum()(torch.ones(len(old_N)).bool(), lengths_B) * -advantages_N) * new_N).sum().backward()
    direct_N = old_N.clone().requires_grad_()
    loss = direct(
        direct_N, ref_N, lengths_B, option.matches(given)[0], torch.tensor(rewards).double().flatten(), fields
    )
    loss.backward()
    assert new_N.grad.tolist() == pytest.approx(direct_N.grad.tolist(), abs=1e-9)
    assert option.metrics()["preference/loss"] == pytest.approx(float(loss.detach()))
    assert (advantages_N.split(lengths_B.tolist())[4] == 0).all()  # all of the group are right


def direct(
    new_N: Tensor,
    ref_N: Tensor,
    lengths_B: Tensor,
    found: list[Any],
    rewards_B: Tensor,
    fields: dict[str, Any],
) -> Tensor:
    gains_B = segment_sum(new_N - ref_N, lengths_B)
    loss, sft, tokens, total = new_N.new_zeros(()), new_N.new_zeros(()), 0.0, 0.0
    for w, l, weight in found:  # noqa: E741
        x = 0.1 * (gains_B[w] - gains_B[l]) - fields.get("margin_coef", 0) * (rewards_B[w] - rewards_B[l])
        loss, total = loss - weight * torch.nn.functional.logsigmoid(x), total + weight
        sft = sft - weight * segment_sum(new_N, lengths_B)[w]
        tokens += weight * int(lengths_B[w])
    return loss / total + fields.get("sft_coef", 0) * sft / tokens


def test_no_pairs_no_gradient() -> None:
    option = OnlinePairs()
    zeros = torch.zeros(12)
    found = option(inputs([[1, 1, 1], [NAN, 0, NAN]], old_logprobs_N=zeros, ref_logprobs_N=zeros))
    assert (found == 0).all() and option.metrics()["preference/pairs"] == 0


def test_a_loss_without_a_reference_needs_none() -> None:
    option = OnlinePairs(loss="simpo", beta=2.0)
    assert not option.needs_reference
    assert option(inputs([[1, 0, 0]], old_logprobs_N=torch.full((6,), -1.0))).any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": "clipped"}, "algorithm.loss=clipped would change the gradient .* loss=reinforce"),
        ({"aggregation": "token_mean"}, "algorithm.aggregation=token_mean would change the gradient"),
        ({"mismatch": "truncate"}, "algorithm.mismatch=truncate would change the gradient"),
        ({"kl": "reward"}, "algorithm.kl=reward has no place in advantage=online_pairs"),
        ({"kl": "none"}, "loss=sigmoid needs a reference policy: choose kl=measured, or a loss without one"),
        ({"advantage": "group_zscore"}, "algorithm.aggregation=sum divides by nothing"),
    ],
)
def test_combinations_that_are_not_exact(changed: dict[str, str], message: str) -> None:
    exact = {"advantage": "online_pairs", "loss": "reinforce", "aggregation": "sum", "kl": "measured"}
    check(algorithm(**exact), group_size=4, max_tokens=8)
    with pytest.raises(ValueError, match=message):
        check(algorithm(**exact | changed), group_size=4, max_tokens=8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "kto"}, "algorithm.advantage.loss is kto; it must be one of apo_down, "),
        ({"margin_coef": 1.0, "loss": "ipo"}, "margin_coef is 1.0; it must be 0, or above 0 with"),
    ],
)
def test_values_without_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnlinePairs(**fields)


def test_the_loss_is_that_of_the_option() -> None:
    assert isinstance(OnlinePairs()._loss, Sigmoid) and OnlinePairs(beta=0.5)._loss.beta == 0.5
