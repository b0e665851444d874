"""Losses of single answers, each wanted or not: (pi_B, ref_B, wanted_B, z) -> (loss_B, metrics).

pi_B and ref_B are summed log-probabilities, float64, of which pi_B carries the gradient; wanted_B bool. z is
what an answer that has nothing to do with its prompt gains over the reference: the zero from which gains and
losses count, one number for the whole update. Metrics: detached `rewards`, _B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require

if TYPE_CHECKING:
    from torch import Tensor


@option("preference")
class KTO:
    """KTO (2402.01306): desirable (1 - s(beta (d - z))), undesirable (1 - s(beta (z - d))), d = pi - ref.

    z = max(0, mean of log p(y'|x) - log ref(y'|x)) over prompts with the answer of another one, detached:
    here of
    the whole update. TRL takes its mean over a device batch (and then over ranks), HALOs over all. Keep
    desirable n_D / (undesirable n_U) between 1 and 4/3, n being how many there are (the paper). A pair counts
    as two answers. kl=false is TRL's `apo_zero_unpaired`: z = 0, and half the forward passes.
    """

    name: str = "kto"
    beta: float = 0.1
    """Strength of the pull towards the reference."""
    desirable: float = 1.0
    """Weight of wanted answers."""
    undesirable: float = 1.0
    """Weight of unwanted answers."""
    kl: bool = True
    """Measure z, with one more forward pass of policy and reference; false: 0."""
    needs_reference: ClassVar[bool] = True
    unpaired: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.beta > 0, "preference.beta", self.beta, "above 0")
        for key in ("desirable", "undesirable"):
            require(getattr(self, key) > 0, f"preference.{key}", getattr(self, key), "above 0")

    @property
    def measures_z(self) -> bool:
        """Whether prompts with the answers of others are to be scored too."""
        return self.kl

    def __call__(
        self, pi_B: Tensor, ref_B: Tensor, wanted_B: Tensor, z: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        sign_B = wanted_B.to(pi_B.dtype) * 2 - 1
        loss_B = 1 - (self.beta * sign_B * (pi_B - ref_B - z)).sigmoid()
        weight_B = wanted_B * self.desirable + ~wanted_B * self.undesirable
        return loss_B * weight_B, {"rewards": self.beta * (pi_B - ref_B).detach()}


def reference_point(gains_B: Tensor) -> float:
    """z of these log-ratios of answers that belong to other prompts; 0 where there are none."""
    return max(float(gains_B.double().mean()), 0.0) if len(gains_B) else 0.0
