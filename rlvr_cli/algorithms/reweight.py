"""A positive factor on the advantage. Signs never flip; a group's advantages need no longer sum to 0.

Options with `needs_old_logprobs` take old_N besides, the policy's log-probabilities at the start of the step.
"""

from __future__ import annotations

import math
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.ratio import finite
from rlvr_cli.algorithms.segments import spread

if TYPE_CHECKING:
    from torch import Tensor


@option("reweight")
class NoReweight:
    """Advantages as they are."""

    name: str = "none"
    needs_group: ClassVar[bool] = False

    def __call__(
        self, advantages_N: Tensor, rewards_PG: Tensor, correct_PG: Tensor, lengths_B: Tensor
    ) -> Tensor:
        return advantages_N

    def observe(self, mean_correct: float) -> None:
        """Nothing to remember."""


@option("reweight")
class TokenProbability:
    """Advantage reweighting, AR (2505.12929): A (alpha p_old + 1 - alpha), p_old the token's probability.

    Corrects for rare tokens making most of a gradient: a token's score has a norm of about 1 - p. Biased: a
    factor that depends on the action is no baseline and moves the fixed point where A has both signs at a
    state. The authors have alpha .3 together with Lopti, .2 alone. The opposite of training uncertain tokens
    alone (`top_entropy`, `low_probability`).
    """

    name: str = "token_probability"
    alpha: float = 0.2
    """What the rarest token loses; 0: nothing."""
    needs_group: ClassVar[bool] = False
    needs_old_logprobs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0 <= self.alpha < 1, "reweight.alpha", self.alpha, "in [0, 1)")

    def __call__(
        self,
        advantages_N: Tensor,
        rewards_PG: Tensor,
        correct_PG: Tensor,
        lengths_B: Tensor,
        old_N: Tensor | None = None,
    ) -> Tensor:
        if old_N is None:
            raise ValueError("algorithm.reweight=token_probability needs old_N")
        return advantages_N * (self.alpha * finite(old_N).exp() + 1 - self.alpha).to(advantages_N.dtype)

    def observe(self, mean_correct: float) -> None:
        """Nothing to remember."""


def soft_anchor(beliefs: list[float], observed: float, eta: float) -> float:
    """(1 - s) * C + s * y with s = eta * population std of the last beliefs, C the newest, y observed."""
    step = min(eta * pstdev(beliefs), 1.0)
    return (1 - step) * beliefs[-1] + step * observed


def difficulty_weights(signs_N: Tensor, gap_N: Tensor, scale: float) -> Tensor:
    """Phi = scale * exp(-sgn(A) * sgn(gap) * |gap|) with gap = pass rate - anchor: _N."""
    return scale * (-signs_N * gap_N).exp()


@option("reweight")
class HistoryDifficulty:
    """History-aware difficulty weighting, HA-DW (2601.08521): A * Phi, see difficulty_weights.

    The anchor C is a belief of what the model can do, made of the mean correctness y of earlier steps.
    Where the group's pass rate is below it (hard) right answers gain and wrong ones lose weight; where
    it is above, the reverse. Soft anchor: C+ = (1 - s) C + s y, s = eta * std of the last `window`
    beliefs; until there are so many, and where they are all equal, the plain mean of the last y: with s = 0
    the belief would stand still for good.
    Hard anchor: mean of the last `window` y. The paper leaves eta, window and the first C open; its code
    uses the hard anchor with window 10, scale 1.5 and the current step already included. Here, as in the
    paper, the anchor knows earlier steps only; in the first step it is the step's own mean.
    Everything is in units of correctness (0 to 1): with rewards of -1 and 1 Phi would act twice as hard.
    """

    name: str = "history_difficulty"
    scale: float = 1.3
    """Lambda, the factor on every advantage. With normalised advantages mostly a learning-rate factor."""
    window: int = 10
    """Steps remembered."""
    hard: bool = True
    """Anchor is the mean of the last steps (the official code) rather than the soft update."""
    eta: float = 1.0
    """Step size of the soft anchor."""
    needs_group: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.scale > 0, "reweight.scale", self.scale, "positive")
        least = 1 if self.hard else 2  # a soft update by the spread of one belief would never move it
        require(self.window >= least, "reweight.window", self.window, f"at least {least}")
        require(self.eta > 0, "reweight.eta", self.eta, "positive")
        self.observed: list[float] = []
        self.beliefs: list[float] = []

    def __call__(
        self, advantages_N: Tensor, rewards_PG: Tensor, correct_PG: Tensor, lengths_B: Tensor
    ) -> Tensor:
        anchor = self.beliefs[-1] if self.beliefs else correct_PG.nanmean()
        gap_PG = (correct_PG.nanmean(1, keepdim=True) - anchor).expand_as(correct_PG)
        # A group without verdicts has no pass rate; its advantages are 0 and must stay so.
        gap_N = spread(gap_PG.masked_fill(gap_PG.isnan(), 0).flatten(), lengths_B)
        weights_N = difficulty_weights(advantages_N.sign(), gap_N.to(advantages_N.dtype), self.scale)
        return advantages_N * weights_N

    def observe(self, mean_correct: float) -> None:
        """Once a step, after __call__: the mean correctness of all that was sampled, filtered or not."""
        if math.isnan(mean_correct):  # a step without any verdict says nothing
            return
        self.observed = [*self.observed, mean_correct][-self.window :]
        if self.hard or len(self.beliefs) < self.window or len(set(self.beliefs)) == 1:
            belief = fmean(self.observed)
        else:
            belief = soft_anchor(self.beliefs, mean_correct, self.eta)
        self.beliefs = [*self.beliefs, belief][-self.window :]

    def state(self) -> dict[str, Any]:
        return {"observed": list(self.observed), "beliefs": list(self.beliefs)}

    def load(self, state: dict[str, Any]) -> None:
        self.observed, self.beliefs = list(state["observed"]), list(state["beliefs"])
