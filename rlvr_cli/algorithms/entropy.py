"""Entropy bonus: loss_t - coef * H_t, aggregated and masked like the policy loss.

H_t is the entropy of the whole next-token distribution at the sampling temperature, with gradient.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import positions, spread

if TYPE_CHECKING:
    from torch import Tensor


def by_tenth(entropy_N: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
    """The entropies of each tenth of a response, `tenth_1` (its beginning) to `tenth_10`: _N, NaN elsewhere.

    A response of n tokens has its token i, from 0, in tenth floor(10 i / n) + 1."""
    tenth_N = 10 * positions(lengths_B) // spread(lengths_B, lengths_B)
    return {f"tenth_{i + 1}": entropy_N.masked_fill(tenth_N != i, math.nan) for i in range(10)}


@option("entropy")
class NoEntropy:
    """No bonus; entropy is measured at most."""

    name: str = "none"
    needs_entropy: ClassVar[bool] = False

    def __call__(self, entropy_N: Tensor) -> Tensor:
        return entropy_N.new_zeros(len(entropy_N))

    def observe(self, mean_entropy: float) -> None:
        """Nothing to adapt."""


@option("entropy")
class Bonus:
    """A fixed coefficient. Small: 1e-3 can already make the entropy of a language model explode."""

    name: str = "bonus"
    coef: float = 1e-3
    """Weight of the entropy."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, "entropy.coef", self.coef, "at least 0")

    @property
    def needs_entropy(self) -> bool:
        return self.coef > 0

    def __call__(self, entropy_N: Tensor) -> Tensor:
        return -self.coef * entropy_N

    def observe(self, mean_entropy: float) -> None:
        """Nothing to adapt."""


@option("entropy")
class Adaptive:
    """Adaptive entropy control (Skywork-OR1, 2505.22312): the bonus holds the entropy up at a target.

        H <= target: coef += delta, and the bonus applies;   H > target: coef -= delta, and it does not

    H is the mean over all response tokens of the previous step; before the first step there is no bonus. TRL
    looks, and moves coef, at each optimizer update: with several of them per step its delta acts as often.
    """

    name: str = "adaptive"
    target: float = 0.2
    """Entropy, in nats per token, below which the bonus applies."""
    delta: float = 0.005
    """Change of the coefficient per step."""
    min_coef: float = 0.0
    """Lower bound of the coefficient, and its first value."""
    max_coef: float = 1.0
    """Upper bound of the coefficient."""
    needs_entropy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.target > 0, "entropy.target", self.target, "positive")
        require(self.delta > 0, "entropy.delta", self.delta, "positive")
        require(self.min_coef >= 0, "entropy.min_coef", self.min_coef, "at least 0")
        above = f"above min_coef ({self.min_coef})"
        require(self.max_coef > self.min_coef, "entropy.max_coef", self.max_coef, above)
        self.coef = self.min_coef
        self.active = False

    def __call__(self, entropy_N: Tensor) -> Tensor:
        return -(self.coef if self.active else 0.0) * entropy_N

    def observe(self, mean_entropy: float) -> None:
        """Call once a step with the mean entropy over its tokens."""
        if math.isnan(mean_entropy):  # a step without an update says nothing
            return
        self.active = mean_entropy <= self.target
        change = self.delta if self.active else -self.delta
        self.coef = min(max(self.coef + change, self.min_coef), self.max_coef)

    def state(self) -> dict[str, Any]:
        return {"coef": self.coef, "active": self.active}

    def load(self, state: dict[str, Any]) -> None:
        self.coef, self.active = float(state["coef"]), bool(state["active"])
