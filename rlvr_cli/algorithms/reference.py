"""When the reference policy of the KL penalty is renewed."""

from __future__ import annotations

from typing import ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require


@option("reference")
class Fixed:
    """The initial policy stays the reference."""

    name: str = "fixed"
    resets: ClassVar[bool] = False
    reset_optimizer: ClassVar[bool] = False

    def due(self, step: int, last_reset: int, mean_kl: float | None) -> bool:
        return False


@option("reference")
class Reset:
    """reference := policy every so often (ProRL, 2505.24864), so that the penalty does not end learning.

    ProRL v1 resets by hand, when validation stalls, and re-initialises the optimizer as well; v2 every
    200 to 500 steps or on a spike of the KL, and keeps the optimizer. Right after a reset every KL
    estimate and its k2 and k3 gradients are 0. Rollouts in flight are not affected.
    """

    name: str = "reset"
    every: int | None = 300
    """Steps between resets; null: none by the clock."""
    kl_above: float | None = None
    """Also reset when the mean KL (k3) to the reference exceeds this; null: never."""
    reset_optimizer: bool = False
    """Also forget the optimizer's moments."""
    resets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.every is None or self.every > 0, "reference.every", self.every, "positive or null")
        require(
            self.kl_above is None or self.kl_above > 0,
            "reference.kl_above",
            self.kl_above,
            "positive or null",
        )
        both_null = self.every is None and self.kl_above is None
        require(
            not both_null, "reference.every", None, "given when kl_above is null, or nothing is ever reset"
        )

    def due(self, step: int, last_reset: int, mean_kl: float | None) -> bool:
        """Asked after each step; last_reset is 0 before the first."""
        if self.every is not None and step - last_reset >= self.every:
            return True
        return self.kl_above is not None and mean_kl is not None and mean_kl > self.kl_above
