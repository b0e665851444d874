"""AdamW, and one whose weight decay leaves frozen entries alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.schema import Trainer

BLOCK = 1 << 24
"""Entries decayed at once; a copy of them is made."""


def make_optimizer(trained: list[Any], settings: Trainer, *, masked: bool) -> torch.optim.AdamW:
    """torch's fused AdamW with the recipe's settings."""
    return (MaskedAdamW if masked else torch.optim.AdamW)(
        trained,
        lr=settings.lr,
        betas=(settings.betas[0], settings.betas[1]),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


class MaskedAdamW(torch.optim.AdamW):
    """AdamW whose weight decay leaves frozen entries alone. Their gradients must be 0 in every step."""

    def __init__(self, parameters: Iterable[Tensor], **settings: Any) -> None:
        super().__init__(parameters, **settings)
        self.frozen: dict[int, Tensor] = {}
        """id of a tensor that is updated -> its frozen entries, boolean and flat; none: it has none."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        decays = [float(group["weight_decay"]) for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            for parameter in group["params"]:
                if parameter.grad is not None and decay:
                    decay_(parameter, self.frozen.get(id(parameter)), 1 - group["lr"] * decay)
            group["weight_decay"] = 0.0
        try:
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay


def decay_(weight: Tensor, frozen: Tensor | None, factor: float) -> None:
    """Multiply in place what is not frozen."""
    if frozen is None:
        weight.mul_(factor)
        return
    for part, stays in zip(weight.view(-1).split(BLOCK), frozen.split(BLOCK), strict=True):
        part.copy_(torch.where(stays, part, part * factor))
