"""The decoupled objective of AReaL (2505.24298): clipped by the policy before the step, weighed by age."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from f1 import advantages, algorithm, make, per_sample

from rlvr_cli.algorithms.advantage_tokens import Baseline, WhitenLevel
from rlvr_cli.algorithms.check import doubts, rounding_doubt
from rlvr_cli.algorithms.objective import policy_loss
from rlvr_cli.algorithms.proximal import Proximal


@pytest.mark.parametrize(("mismatch", "value"), [("truncate", 1.5), ("none", 1.2)])
def test_one_token_by_hand(mismatch: str, value: float) -> None:
    """pi .3, before the step .25, as sampled .2, A = 1, eps = .2: u = 1.2, w = 1.25: 1.5; unweighted 1.2."""

    def one(p: float) -> torch.Tensor:
        return torch.tensor([log(p)], dtype=torch.float64)

    chosen = algorithm(
        mismatch=mismatch, loss=make("loss", "clipped", clip_ratio_low=0.2, clip_ratio_high=0.2)
    )
    loss, _ = policy_loss(
        chosen,
        new_N=one(0.3),
        entropy_N=None,
        old_N=one(0.25),
        rollout_N=one(0.2),
        ref_N=None,
        advantages_N=torch.ones(1, dtype=torch.float64),
        weights_N=torch.ones(1, dtype=torch.float64),
        lengths_B=torch.tensor([1]),
    )
    assert -float(loss) == pytest.approx(value)


def test_age_without_a_correction_is_doubted() -> None:
    [doubt] = doubts(algorithm(), 1, max_staleness=4)
    assert "rollout.max_staleness=4 with algorithm.mismatch=none" in doubt
    assert not [*doubts(algorithm(mismatch="truncate"), 1, max_staleness=4), *doubts(algorithm(), 1)]


@pytest.mark.parametrize(("proximal", "staleness", "doubted"), [
    ("interpolated", 0, "is proximal=rollout; set rollout.max_staleness"), ("interpolated", 2, ""),
    ("rollout", 0, ""), ("rollout", 2, ""),
])  # fmt: skip
def test_a_proximal_policy_of_its_own_corrects(proximal: str, staleness: int, doubted: str) -> None:
    """Age is doubted where nothing corrects for it; an interpolation, where there is nothing between."""
    chosen = algorithm(mismatch=make("mismatch", "none", proximal=Proximal[proximal]))
    found = [*doubts(chosen, 1, max_staleness=staleness)]
    assert [doubted in line for line in found] == ([True] if doubted else [])
    assert not [*rounding_doubt(chosen, updates_per_step=4, max_tokens=8192)]


def ratios(*of: float) -> dict[str, Any]:
    """Tokens whose ratio new / old is this, each a response of its own."""
    new_N = torch.tensor([log(r) for r in of], dtype=torch.float64)
    return {
        "new_N": new_N,
        "old_N": torch.zeros_like(new_N),
        "lengths_B": torch.ones(len(of), dtype=torch.int64),
    }


def test_a_clipped_weight_leaves_every_token_a_gradient_and_two_sides_bound_it() -> None:
    """CISPO with a cap of 5: weights .5 1 5 5. INTELLECT-2's second bound 4, A = -1, ratio 10: 4, not 10."""
    given_ = ratios(0.5, 1.0, 6.0, 9.0)
    new_N = given_.pop("new_N").requires_grad_()
    loss_N, _ = make("loss", "clipped_weight", clip_ratio_high=4.0)(
        new_N, advantages_N=torch.ones(4), **given_
    )
    (slope_N,) = torch.autograd.grad(loss_N.sum(), new_N)
    assert (-slope_N).tolist() == pytest.approx([0.5, 1, 5, 5])
    for bound, loss in ((4.0, 4.0), (None, 10.0)):
        clipped = make("loss", "clipped", clip_ratio_low=0.2, clip_ratio_high=0.2, dual_clip=bound)
        assert float(clipped(advantages_N=-torch.ones(1), **ratios(10.0))[0]) == pytest.approx(loss)


def test_advantages_whitened_over_the_responses_of_a_batch() -> None:
    """Magistral: two groups of four, centred with a std of .4677."""
    option = make("advantage", "batch_whitened", baseline=Baseline.group, level=WhitenLevel.sequence, ddof=0)
    rewards_PG = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.float64)
    found = advantages(option, rewards_PG, torch.tensor([2, 4, 3, 1, 5, 1, 2, 2]))
    expected = [1.069, 1.069, -1.069, -1.069, 1.604, -0.535, -0.535, -0.535]
    assert per_sample(found, torch.tensor([2, 4, 3, 1, 5, 1, 2, 2])) == pytest.approx(expected, abs=5e-4)
