"""Losses that treat apart the few tokens whose update takes most of the policy's entropy (2505.22617).

    cov_t = (A_t - mean(A)) (old_t - mean(old))     means over the tokens of the update that train

A token that is likely and good, or unlikely and bad, has a high one. Which tokens are meant is said once for
a whole update (`choose`), before it is cut into micro-batches: a share of a micro-batch would be another one.
The authors' code, and verl's, take means, the top and the draw inside a micro-batch, and new for old (equal
in the first update of a step). Otherwise as in `loss.py`; the chosen tokens come as chosen_N (bool).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.loss import Clipped, report
from rlvr_cli.algorithms.ratio import finite, log_ratio

if TYPE_CHECKING:
    from torch import Tensor


def covariances(advantages_N: Tensor, old_N: Tensor, keep_N: Tensor) -> Tensor:
    """Of the kept tokens, in their order, float64; 0 where nothing is kept."""
    a_K, old_K = advantages_N[keep_N].double(), finite(old_N[keep_N]).double()
    return (a_K - a_K.mean()) * (old_K - old_K.mean())


def marked(keep_N: Tensor, places: list[int]) -> Tensor:
    """bool _N: these places among the kept tokens."""
    chosen_N = keep_N & False
    chosen_N[keep_N.nonzero().flatten()[places]] = True
    return chosen_N


@option("loss")
class ClipCov(Clipped):
    """Clip-Cov: of the tokens with cov_low < cov < cov_high a few, drawn at random, do not train.

        loss = PPO's clip, 0 at max(int(fraction * tokens), 1) of them; the divisor stays

    Corrects the collapse of entropy; biased, as those are the tokens that the policy gradient would move
    most. The authors switch PPO's clip off (1 and 1) and cap negative tokens at 10. They draw among tokens
    that PPO has not clipped; here the draw knows only the start of the step, so one that is clipped may be
    drawn.
    """

    name: str = "clip_cov"
    clip_ratio_low: float = 1.0
    clip_ratio_high: float = 1.0
    dual_clip: float | None = 10.0
    fraction: float = 2e-4
    """Share of the update's tokens that is drawn; one at least."""
    cov_low: float = 1.0
    """Tokens with a covariance up to this are not drawn."""
    cov_high: float = 5.0
    """Tokens with a covariance from this on are not drawn."""
    needs_old_logprobs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.fraction <= 1, "loss.fraction", self.fraction, "in (0, 1]")
        below = f"below cov_high ({self.cov_high})"
        require(self.cov_low < self.cov_high, "loss.cov_low", self.cov_low, below)

    def choose(self, advantages_N: Tensor, old_N: Tensor, keep_N: Tensor, seed: str) -> Tensor:
        """Which tokens of an update do not train: bool _N."""
        cov_K = covariances(advantages_N, old_N, keep_N)
        candidates = ((cov_K > self.cov_low) & (cov_K < self.cov_high)).nonzero().flatten().tolist()
        count = max(int(self.fraction * len(cov_K)), 1)
        return marked(keep_N, Random(seed).sample(candidates, min(count, len(candidates))))

    def __call__(
        self,
        new_N: Tensor,
        old_N: Tensor,
        advantages_N: Tensor,
        lengths_B: Tensor,
        chosen_N: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if chosen_N is None:
            raise ValueError("algorithm.loss=clip_cov needs chosen_N")
        loss_N, metrics = super().__call__(new_N, old_N, advantages_N, lengths_B)
        return loss_N.masked_fill(chosen_N, 0), metrics | {"chosen": chosen_N}


@option("loss")
class KLCov:
    """KL-Cov: -A w, and coef |new - old| besides at the tokens with the highest covariance; no clip.

    Corrects the collapse of entropy by holding those tokens where they are; biased towards the old policy
    there. The penalty has slope +-coef and is 0 at w = 1: in the first of a step's updates it does nothing.
    The authors give the share in percent (.2: 2e-3 for 7B, .02: 2e-4 for 32B), coef 1. verl's fraction is
    2e-4 by default and its ppo_kl_coef .1; SkyRL's kl_cov_frac .2 is a fraction, a hundred times the paper's.
    """

    name: str = "kl_cov"
    fraction: float = 2e-3
    """Share of the update's tokens that is penalised; one at least."""
    coef: float = 1.0
    """Weight of the penalty."""
    needs_old_logprobs: ClassVar[bool] = True
    beyond_advantages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0 < self.fraction <= 1, "loss.fraction", self.fraction, "in (0, 1]")
        require(self.coef >= 0, "loss.coef", self.coef, "at least 0")

    def choose(self, advantages_N: Tensor, old_N: Tensor, keep_N: Tensor, seed: str) -> Tensor:
        """Which tokens of an update are held: bool _N."""
        cov_K = covariances(advantages_N, old_N, keep_N)
        count = min(max(int(self.fraction * len(cov_K)), 1), len(cov_K))
        return marked(keep_N, cov_K.topk(count).indices.tolist())

    def __call__(
        self,
        new_N: Tensor,
        old_N: Tensor,
        advantages_N: Tensor,
        lengths_B: Tensor,
        chosen_N: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if chosen_N is None:
            raise ValueError("algorithm.loss=kl_cov needs chosen_N")
        gap_N = log_ratio(new_N, old_N)
        never_N = chosen_N & False
        metrics = report(new_N, old_N, gap_N.exp(), never_N, never_N)
        held_N = chosen_N * self.coef * gap_N.abs()
        return -gap_N.exp() * advantages_N + held_N, metrics | {"chosen": chosen_N}
