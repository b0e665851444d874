"""The frozen policy a KL penalty pulls towards; made only when an algorithm asks for it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from rlvr_cli.engine.asleep import awake
from rlvr_cli.engine.frozen import Frozen
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Model


class Reference(Frozen):
    """Logprobs under the reference policy: a frozen copy, or with LoRA the model without its adapters.

    Adapters that took their start from the weights (PiSSA) leave no start model beneath: a copy as well.
    A reset copies the policy's weights; after one, LoRA runs need a copy too, so one is made then.
    """

    def __init__(self, model: Model, trainer: Trainer) -> None:
        self.adapters = model.lora.keeps_start
        self.renewed = False
        super().__init__(model, trainer, load=not self.adapters)

    def reset(self) -> None:
        """Become the policy as it is now. All ranks must call it."""
        self.become(self.trainer.weights())

    def become(self, weights: Iterable[tuple[str, Tensor]], *, first: bool = False) -> None:
        """As `Frozen.become`; what a reset or a checkpoint makes of it is saved from then on."""
        super().become(weights, first=first)
        self.renewed = True

    @awake
    def restart(self) -> None:
        """Become the start model again. All ranks must call it."""
        if self.renewed:
            self.module = None if self.adapters else self._load()
            self.renewed = False

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of the weights of a reference that was reset, on rank 0; before that it is the start model.

        All ranks must call it.
        """
        return self.copies() if self.renewed else {}
