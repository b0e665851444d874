"""Gradient norms of the embedding, each transformer block and the head, and factors applied to them.

Between the last backward of an update and the optimizer step every rank reads the piece of the gradient
that it holds, so nothing is gathered but one number per group.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from deepspeed.utils import safe_get_local_grad, safe_set_local_grad
from torch import Tensor, nn

from rlvr_cli.core import distributed

LayerRule = Callable[[dict[str, float]], tuple[dict[str, float], dict[str, float]]]
"""Norms of the groups -> (factors of the groups, metrics). A factor of 0 sets the gradient to zero."""


def group_of(name: str) -> str:
    """`embedding`, `layer_<n>` or `head` (final norm, output layer, value head) of a parameter's name."""
    block = re.search(r"\.(\d+)\.", name)  # the first list of modules in a decoder is its blocks
    if block:
        return f"layer_{block[1]}"
    return "embedding" if re.search(r"embed|\.wte\.|\.wpe\.", name) else "head"


class Layers:
    """The trained parameters of a module by group, and where each rank finds its piece of their gradients."""

    def __init__(self, module: nn.Module, zero_stage: int) -> None:
        self.zero_stage = zero_stage
        self.groups: dict[str, list[Any]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                self.groups.setdefault(group_of(name), []).append(parameter)

    def norm(self) -> float:
        """L2 norm of the whole gradient; the same on every rank. Infinite where a square overflows fp32."""
        settle()
        found = [self._norm(p) for parameters in self.groups.values() for p in parameters]
        norms = [x for x in found if x is not None]
        square = torch.zeros(1, dtype=torch.float64)
        if norms:
            square += torch.stack(norms).double().square().sum().cpu()
        if self.zero_stage > 0:
            square = distributed.sum_over_ranks(square)
        return float(square.sqrt())

    def norms(self) -> dict[str, float]:
        """L2 norm of each group's whole gradient, over shards and ranks; the same on every rank."""
        settle()
        squares = torch.zeros(len(self.groups), dtype=torch.float64)
        for i, parameters in enumerate(self.groups.values()):
            for parameter in parameters:
                piece = self.piece(parameter)
                if piece is not None:
                    squares[i] += piece.float().square().sum(dtype=torch.float64).cpu()
        if self.zero_stage > 0:  # without ZeRO every rank holds the whole gradient
            squares = distributed.sum_over_ranks(squares)
        return dict(zip(self.groups, squares.sqrt().tolist(), strict=True))

    def scale(self, factors: dict[str, float]) -> None:
        """Multiply each group's gradient by its factor."""
        for group, factor in factors.items():
            if factor == 1.0:
                continue
            for parameter in self.groups[group]:
                piece = self.piece(parameter)
                if piece is None:
                    continue
                piece.zero_() if factor == 0.0 else piece.mul_(factor)  # inf * 0 would be NaN
                if self.zero_stage == 3:
                    self.put(parameter, piece)

    def put(self, parameter: Any, piece: Tensor) -> None:
        """Under ZeRO-3, where `piece` may have been a copy: write it back."""
        safe_set_local_grad(parameter, piece)

    def _norm(self, parameter: Any) -> Tensor | None:
        """Of this rank's piece, which may be a copy: it is gone before the next one is made."""
        piece = self.piece(parameter)
        if piece is None:
            return None
        return torch.linalg.vector_norm(piece, dtype=torch.float32).to(distributed.device())

    def piece(self, parameter: Any) -> Tensor | None:
        """This rank's piece of the averaged gradient, fp32; None where it holds none."""
        if self.zero_stage == 3:
            found: Tensor | None = safe_get_local_grad(parameter)
            return found
        if self.zero_stage == 0:
            whole: Tensor | None = parameter.grad
            return whole
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        fragment: Tensor = mapping.get_lp_grad_fragment(parameter._index_in_param_group)
        return fragment


def settle() -> None:
    """Wait for what the backward pass has started: with offload it copies gradients to the CPU meanwhile."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
