"""Why random rewards move a policy (Spurious Rewards, 2506.10947, appendix B): by the clip range alone.

A policy of two ways to answer, `code` with prior p and `language`, enumerated exactly, trained by the real
advantages and the real loss with 8 updates on the samples of a step.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from f1 import make, near
from torch import Tensor

from rlvr_cli.algorithms.advantage import AdvantageInputs

PROMPTS, GROUP, UPDATES = 16, 16, 8
SEEDS, RATE = 500, 2.0


def advantages(rewards_PG: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-9), one token a sample."""
    lengths_B = torch.ones(rewards_PG.numel(), dtype=torch.int64)
    option = make("advantage", "group_zscore", ddof=0, eps=1e-9)
    return option(AdvantageInputs(rewards_PG=rewards_PG, lengths_B=lengths_B))


def clipped(high: float) -> Any:
    return make("loss", "clipped", clip_ratio_low=min(high, 1 - 1e-6), clip_ratio_high=high)


def slope(ratio: float, advantage: float, high: float = 0.2) -> float:
    """d(-loss) / d(ratio) of one token."""
    new_N = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    old_N, ones = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.int64)
    loss_N, _ = clipped(high)(new_N, old_N, torch.tensor([advantage], dtype=torch.float64), ones)
    (gradient,) = torch.autograd.grad(-loss_N.sum(), new_N)
    return float(gradient) / ratio


def test_advantages_of_random_rewards() -> None:
    assert advantages(torch.tensor([[1.0, 0, 0, 1]])).tolist() == near([1, -1, -1, 1])
    assert advantages(torch.zeros(1, 4)).tolist() == [0, 0, 0, 0]


def test_which_way_a_clipped_token_pulls() -> None:
    assert slope(1.3, 1.0) == 0 and slope(0.7, -1.0) == 0
    assert slope(1.3, -1.0) == pytest.approx(-1.0) and slope(0.7, 1.0) == pytest.approx(1.0)
    assert slope(1.1, 1.0) == pytest.approx(1.0) and slope(1.1, -1.0) == pytest.approx(-1.0)


def test_the_expected_gradient_is_the_papers_bias() -> None:
    """E A = 0, and mu = P(A > 0) E[A | A > 0]: mu dR where R < 1 - e, 0 within, -mu dR where R > 1 + e."""
    # All 16 equally likely rewards of a group of 4, seen from its first sample.
    rewards = torch.tensor([[n >> bit & 1 for bit in range(4)] for n in range(16)], dtype=torch.float64)
    first = advantages(rewards).reshape(16, 4)[:, 0]
    mu = float(first.clamp(min=0).mean())
    assert float(first.mean()) == pytest.approx(0) and mu > 0.3
    for ratio, wanted in ((0.7, mu), (0.9, 0.0), (1.1, 0.0), (1.3, -mu)):
        assert np.mean([slope(ratio, float(a)) for a in first]) == pytest.approx(wanted, abs=1e-9)
        assert np.mean([slope(ratio, float(a), math.inf) for a in first]) == pytest.approx(0, abs=1e-9)


def test_a_likely_token_cannot_reach_the_upper_bound() -> None:
    for chance, reaches in ((0.85, False), (0.83, True), (0.02, True)):
        assert (slope(min(1 / chance, 1.21), 1.0) == 0) is (1 / chance > 1.2) is reaches


@cache
def learned(prior: float, high: float, gold: bool = False, steps: int = 8) -> Tensor:
    """P(code) of each of SEEDS policies, all at once. Rewards are random, or with `gold` right with .65 by
    code and with .3 by language."""
    generator = torch.Generator().manual_seed(0)
    shape, part = (SEEDS, PROMPTS, GROUP), PROMPTS * GROUP // UPDATES
    theta_S = torch.full((SEEDS,), math.log(prior / (1 - prior)), dtype=torch.float64, requires_grad=True)
    loss, ones = clipped(high), torch.ones(SEEDS * part, dtype=torch.int64)
    for _ in range(steps):
        chance_S11 = torch.sigmoid(theta_S.detach())[:, None, None]
        code = torch.rand(shape, generator=generator, dtype=torch.float64) < chance_S11
        right = torch.where(code, 0.65, 0.3) if gold else torch.full(shape, 0.5)
        rewards_PG = (torch.rand(shape, generator=generator) < right).double().reshape(-1, GROUP)
        advantages_SB = advantages(rewards_PG).reshape(SEEDS, -1)
        sign_SB = code.reshape(SEEDS, -1).double() * 2 - 1
        order = torch.randperm(PROMPTS * GROUP, generator=generator)
        old_SB = torch.nn.functional.logsigmoid(sign_SB * theta_S.detach()[:, None])
        for at in order.chunk(UPDATES):
            new_SB = torch.nn.functional.logsigmoid(sign_SB[:, at] * theta_S[:, None])
            flat = (new_SB, old_SB[:, at], advantages_SB[:, at])
            loss_N, _ = loss(*(each.flatten() for each in flat), ones)
            (gradient_S,) = torch.autograd.grad(loss_N.sum() / part, theta_S)
            with torch.no_grad():
                theta_S -= RATE * gradient_S
    return torch.sigmoid(theta_S.detach())


def moved(prior: float, high: float) -> tuple[Tensor, Tensor]:
    """Change of P(code), and of its logit, of each policy."""
    found_S = learned(prior, high)
    return found_S - prior, found_S.logit() - math.log(prior / (1 - prior))


def errors(change_S: Tensor) -> float:
    """The mean, in standard errors."""
    return float(change_S.mean() / (change_S.std() / math.sqrt(SEEDS)))


def test_with_clipping_random_rewards_sharpen_the_prior() -> None:
    """The bias follows the prior, not the reward: up from .65, down from .3. Without clipping there is none,
    and seeds differ more."""
    (up, _), (down, _) = moved(0.65, 0.2), moved(0.3, 0.2)
    assert errors(up) > 5 and float(up.mean()) > 0.03
    assert errors(down) < -5 and float(down.mean()) < -0.03
    for prior, change in ((0.65, up), (0.3, down)):
        free, logits = moved(prior, math.inf)
        assert abs(errors(logits)) < 4
        assert float(free.std()) > 1.5 * float(change.std())


def test_true_rewards_find_code_from_both() -> None:
    for prior in (0.65, 0.3):
        for high in (0.2, math.inf):
            assert float(learned(prior, high, gold=True, steps=20).mean()) > 0.98
