"""Plugin: an entropy bonus of one's own, with the wrong sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option

if TYPE_CHECKING:
    from torch import Tensor


@option("entropy")
class WrongSign:
    """The loss grows with it, where it should fall."""

    name: str = "wrong_sign"
    coef: float = 0.3
    """Weight of the entropy."""
    needs_entropy: ClassVar[bool] = True

    def __call__(self, entropy_N: Tensor) -> Tensor:
        return self.coef * entropy_N

    def observe(self, mean_entropy: float) -> None:
        """Nothing to adapt."""
