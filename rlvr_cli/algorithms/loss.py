"""The policy loss of each token, to be minimised, with w = exp(new - old) the PPO ratio.

Every option maps new_N (which carries the gradient), old_N, advantages_N (float) and lengths_B to
(loss_N, metrics); metrics are detached _N tensors:
`clip_ratio_low` / `clip_ratio_high` tokens held back by the clip, `ppo_kl` = old - new (its mean
estimates KL(old, new)), `ratio` what multiplies the advantage (of `reinforce`, where nothing does, w),
`dual_clip` (where that is set) tokens whose loss it caps.
An option may have besides: `needs_rollout`, and it is told rollout_N; `choose(advantages_N, old_N, keep_N,
seed)`, which picks tokens of a whole update (bool _N), and it is told them as chosen_N;
`needs_old_logprobs`, for these also where a step has one update; `beyond_advantages`: tokens whose advantage
is 0 have a gradient too; `whole_response`: it needs one advantage for all tokens of a response;
`by_response`: a token's loss depends on the ratios of its whole response.
Log-ratios are clamped to +-20 before exp (see `ratio.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.ratio import BOUND, finite, log_ratio
from rlvr_cli.algorithms.segments import segment_mean, spread

if TYPE_CHECKING:
    from torch import Tensor


def report(new_N: Tensor, old_N: Tensor, ratio_N: Tensor, low_N: Tensor, high_N: Tensor) -> dict[str, Tensor]:
    """The metrics of every option; low_N and high_N say which tokens were held back."""
    return {
        "clip_ratio_low": low_N,
        "clip_ratio_high": high_N,
        "ppo_kl": (finite(old_N) - finite(new_N)).detach(),
        "ratio": ratio_N.detach(),
    }


def surrogate(
    new_N: Tensor, old_N: Tensor, advantages_N: Tensor, ratio_N: Tensor, low: float, high: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """-min(w A, clamp(w, 1 - low, 1 + high) A), and where that takes the gradient away."""
    clipped_N = ratio_N.clamp(1 - low, 1 + high)
    loss_N = -(ratio_N * advantages_N).minimum(clipped_N * advantages_N)
    low_N = (advantages_N < 0) & (ratio_N.detach() < 1 - low)
    high_N = (advantages_N > 0) & (ratio_N.detach() > 1 + high)
    return loss_N, report(new_N, old_N, ratio_N, low_N, high_N)


def require_clip(low: float | None, high: float) -> None:
    require(low is None or low >= 0, "loss.clip_ratio_low", low, "at least 0")
    require(high >= 0, "loss.clip_ratio_high", high, "at least 0")


@option("loss")
class Clipped:
    """PPO's clip (1707.06347) with two bounds: -min(w A, clamp(w, 1 - low, 1 + high) A).

    Equal bounds: PPO and GRPO; high > low: DAPO's clip-higher (2503.14476). For A < 0 and w >> 1 the
    gradient is unbounded unless dual_clip c > 1 caps the loss at c |A| (1912.09729): verl's default is 3,
    DAPO's scripts use 10, the papers have none. INTELLECT-2's two-sided clip (2505.07291; TRL's `delta`) is
    the same with c = 4, as long as c is at least 1 + high. At w = 1 the gradient is the plain policy
    gradient.
    """

    name: str = "clipped"
    clip_ratio_low: float = 0.2
    """The ratio is held above 1 - this."""
    clip_ratio_high: float = 0.2
    """The ratio is held below 1 + this."""
    dual_clip: float | None = None
    """For negative advantages the ratio counts at most this much; null: no bound."""

    def __post_init__(self) -> None:
        require_clip(self.clip_ratio_low, self.clip_ratio_high)
        require(
            self.dual_clip is None or self.dual_clip > 1, "loss.dual_clip", self.dual_clip, "above 1 or null"
        )

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        ratio_N = log_ratio(new_N, old_N).exp()
        loss_N, metrics = surrogate(
            new_N, old_N, advantages_N, ratio_N, self.clip_ratio_low, self.clip_ratio_high
        )
        if self.dual_clip is not None:
            metrics["dual_clip"] = (advantages_N < 0) & (ratio_N.detach() > self.dual_clip)
            loss_N = loss_N.minimum(-advantages_N * self.dual_clip).where(advantages_N < 0, loss_N)
        return loss_N, metrics


@option("loss")
class SequenceRatio:
    """GSPO (2507.18071): one ratio per response, s = exp(mean_t(new - old)), clipped as a whole:

        -min(s A, clamp(s, 1 - low, 1 + high) A)

    Written as GSPO-token, s_t = sg[s] * pi / sg[pi]: the value is s and the gradient of a token's loss is
    s A grad(new_t), which under seq_mean_token_mean adds up to GSPO's gradient. With other aggregations long
    responses weigh more (verl and OpenRLHF force the mean, TRL warns). The mean is over all tokens of the
    response, also those token_weights drops; log s is clamped to +-20, single tokens are not (verl: log s at
    most 10). Bounds are some hundred times smaller than for single tokens. OpenRLHF, where it corrects
    for the mismatch, takes new - rollout for new - old. AReaL averages token advantages over the response.
    """

    name: str = "sequence_ratio"
    clip_ratio_low: float = 3e-4
    """s is held above 1 - this."""
    clip_ratio_high: float = 4e-4
    """s is held below 1 + this."""
    by_response: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_clip(self.clip_ratio_low, self.clip_ratio_high)

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        new_N = finite(new_N)
        mean_B = segment_mean(log_ratio(new_N, old_N, math.inf).detach(), lengths_B)
        mean_N = spread(mean_B.clamp(-BOUND, BOUND), lengths_B)
        ratio_N = (mean_N + (new_N - new_N.detach())).exp()
        return surrogate(new_N, old_N, advantages_N, ratio_N, self.clip_ratio_low, self.clip_ratio_high)


@option("loss")
class ClippedWeight:
    """CISPO (MiniMax-M1, 2506.13585): -sg[clamp(w, 1 - low, 1 + high)] A new, under token_mean.

    Unlike PPO's clip every token keeps a gradient, -clamp(w) A grad(new). The loss's value means nothing.
    M1 leaves low without effect and does not publish high. TRL's epsilon_high is the absolute cap
    (1 + clip_ratio_high here), around 5 in ScaleRL; verl's example has high 0.2. The clip metrics count
    weights that were clamped, whatever the sign of A (TRL: A > 0 only).
    """

    name: str = "clipped_weight"
    clip_ratio_low: float | None = None
    """The weight is held above 1 - this; null: no lower bound."""
    clip_ratio_high: float = 4.0
    """The weight is held below 1 + this."""

    def __post_init__(self) -> None:
        require_clip(self.clip_ratio_low, self.clip_ratio_high)

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        ratio_N = log_ratio(new_N, old_N).exp().detach()
        lowest = 0.0 if self.clip_ratio_low is None else 1 - self.clip_ratio_low
        weight_N = ratio_N.clamp(lowest, 1 + self.clip_ratio_high)
        capped_N = ratio_N > 1 + self.clip_ratio_high
        metrics = report(new_N, old_N, weight_N, ratio_N < lowest, capped_N)
        return -weight_N * advantages_N * finite(new_N), metrics


@option("loss")
class Reinforce:
    """The plain policy gradient -A new, without ratio or clip: RLOO (2402.14740) and REINFORCE.

    Right for one update per batch of rollouts only; with more, later updates are off-policy and uncorrected.
    verl's, OpenRLHF's and TRL's RLOO keep a clip instead (see `leave_one_out`).
    """

    name: str = "reinforce"

    def __call__(
        self, new_N: Tensor, old_N: Tensor, advantages_N: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        ratio_N = log_ratio(new_N, old_N).exp()
        never_N = advantages_N.new_zeros(len(advantages_N)).bool()
        metrics = report(new_N, old_N, ratio_N, never_N, never_N)
        return -advantages_N * finite(new_N), metrics
