"""LoRA adapters merged into the weights they adapt, and how much of them survives the rounding."""

from __future__ import annotations

import torch
from torch import Tensor


class Merge:
    """Of all adapted weights of a model, one after the other."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def __call__(self, weight: Tensor, delta: Tensor) -> Tensor:
        """Their sum, made in fp32 and rounded once to the type of `weight`."""
        exact = weight.float() + delta.float()
        merged = exact.to(weight.dtype)
        if merged.dtype != exact.dtype:
            lost, wanted = merged.float() - exact, delta.float()
            self._sums.append(torch.stack([lost.square().sum(), wanted.square().sum()]))
        return merged

    @property
    def error(self) -> float | None:
        """Norm of what rounding took from the adapters or added, over theirs; None: nothing is rounded.

        1 means that the merged model is, or might as well be, the one without adapters.
        """
        if not self._sums:
            return None
        lost, wanted = torch.stack(self._sums).sum(0).tolist()
        return float((lost / wanted) ** 0.5) if wanted else None
