"""The decoupled objective of AReaL (2505.24298): clipped by the policy before the step, weighed by age."""

from __future__ import annotations

from math import log

import pytest
import torch
from f1 import algorithm, make

from rlvr_cli.algorithms.check import doubts
from rlvr_cli.algorithms.objective import policy_loss


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
