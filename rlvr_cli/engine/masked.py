"""`model.mask`: entries of weights that stay, bit for bit, what the start model has, while the others train.

Masks are made of the start weights, by rank 0, and kept in checkpoints: a singular value decomposition need
not come out the same on another machine. A rank holds the part that belongs to its piece of the fp32 weights.
Their gradients are set to 0 before the norm is taken and clipped, so Adam's moments stay 0 and its step adds
nothing; weight decay, which multiplies, is made here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepspeed
import numpy as np
import torch
from torch import Tensor, nn

from rlvr_cli.core import distributed, tensor_files
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.weight_masks import (
    count_of,
    low_magnitude_mask,
    off_principal_mask,
    principal_mask,
    random_mask,
)
from rlvr_cli.engine.layers import Layers, settle
from rlvr_cli.engine.masked_weights import masked_weights
from rlvr_cli.engine.universal import find_home
from rlvr_cli.schema import MaskKind, WeightMask

FILE = "masks.pt"
"""In a checkpoint: name of a weight -> which of its entries train, a bit for each."""


class Masks:
    """Of all masked weights of a model; where `model.mask` is off, of none."""

    def __init__(self, hf: nn.Module | None, settings: WeightMask, zero_stage: int) -> None:
        """Before the optimizer is made: takes what does not train at all from it."""
        self.settings, self.zero_stage = settings, zero_stage
        self.parameters: dict[str, Any] = masked_weights(hf, settings) if settings.on else {}
        self.bits: dict[str, Tensor] = {}
        """Name -> entries that train, eight in a byte, on the CPU of every rank; empty: not made yet."""
        self.frozen: dict[int, Tensor] = {}
        self.share = 0.0
        """Of the masked weights' entries how many train."""
        self._pieces: list[tuple[Any, Tensor]] = []
        self._names = {id(parameter): name for name, parameter in self.parameters.items()}

    def ready(self, engine: Any) -> None:
        """At the first update, checkpoint or restart: before that the weights are the start model's."""
        if self.parameters and not self.bits:
            self.make()
            self.place(engine)

    def make(self) -> None:
        """From the weights as they are now. All ranks must call it."""
        for name, parameter in self.parameters.items():
            heart.beat()
            sharded = self.zero_stage == 3
            packed = torch.zeros(-(-numel(parameter) // 8), dtype=torch.uint8)
            with deepspeed.zero.GatheredParameters([parameter], enabled=sharded), torch.no_grad():
                if distributed.rank() == 0:
                    mask = made(parameter.detach(), name, self.settings)
                    packed = torch.from_numpy(np.packbits(mask.cpu().numpy()))
            self.bits[name] = distributed.from_rank_0(packed)

    def place(self, engine: Any) -> None:
        """Cut what `bits` says into the pieces that this rank's optimizer updates."""
        if not self.parameters:
            return
        optimizer = engine.optimizer
        self.frozen, self._pieces = {}, []
        for name, parameter in self.parameters.items():
            home = find_home(optimizer, parameter, self.zero_stage)
            if home is None or not home.count:
                continue
            flat = self.frozen.get(id(home.tensor))
            if flat is None:
                flat = torch.zeros(home.tensor.numel(), dtype=torch.bool, device=home.tensor.device)
                self.frozen[id(home.tensor)] = flat
            piece = flat[home.at : home.at + home.count]
            piece.copy_(~unpacked(self.bits[name], numel(parameter))[home.start : home.start + home.count])
            self._pieces.append((parameter, piece))
        getattr(optimizer, "optimizer", optimizer).frozen = self.frozen
        trained = sum(int(np.unpackbits(bits.numpy()).sum()) for bits in self.bits.values())
        self.share = trained / sum(numel(parameter) for parameter in self.parameters.values())

    def still(self, layers: Layers, engine: Any) -> None:
        """Set the gradients of frozen entries to 0: after the last backward pass, before any norm.

        All ranks must call it.
        """
        if not self.parameters:
            return
        self.ready(engine)
        settle()
        optimizer = engine.optimizer
        for parameter, frozen in self._pieces:
            piece = layers.piece(parameter)
            if piece is None:
                continue
            piece.view(-1)[: len(frozen)].masked_fill_(frozen.to(piece.device), 0.0)
            if self.zero_stage == 3:
                layers.put(parameter, piece)
            elif getattr(optimizer, "cpu_offload", False):  # it took the norm to clip by in the backward pass
                norms, number = optimizer.norm_for_param_grads, optimizer.get_param_id(parameter)
                norms[number] = piece.to(norms[number].dtype).norm(2)

    def snapshot(self, tag: str, engine: Any) -> dict[str, Any]:
        """The file of a checkpoint, on rank 0. All ranks must call it."""
        self.ready(engine)
        return {f"{tag}/{FILE}": dict(self.bits)} if self.bits and distributed.rank() == 0 else {}

    def load(self, folder: Path) -> None:
        """Before weights are restored from there; `place` belongs after it. All ranks must call it."""
        if self.parameters:
            self.bits = tensor_files.read(folder / FILE)

    def mask(self, name: str) -> Tensor:
        """Which entries of a whole weight train: boolean of its shape, on the CPU."""
        parameter = self.parameters[name]
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        return unpacked(self.bits[name], numel(parameter)).view(shape)

    def of_gradient(self, parameter: Any, gradient: Tensor) -> Tensor:
        """A whole gradient without what frozen entries have of it."""
        name = self._names.get(id(parameter))
        return gradient if name is None else gradient.masked_fill(~self.mask(name).to(gradient.device), 0.0)

    def metrics(self) -> dict[str, float]:
        return {"mask_share": self.share} if self.parameters else {}

    def flats(self) -> Iterator[Tensor]:
        """What lies beside the fp32 weights, and sleeps with them."""
        yield from self.frozen.values()


NO_MASKS = Masks(None, WeightMask(), 0)


def made(weight: Tensor, name: str, settings: WeightMask) -> Tensor:
    """Which entries of a weight [rows, columns] train: boolean of its shape, on any device."""
    w0, share, rank = weight.to(distributed.device()), settings.share, settings.rank
    if settings.kind is MaskKind.principal:
        return principal_mask(w0, rank, share)
    if settings.kind is MaskKind.low_magnitude:
        return low_magnitude_mask(w0, share)
    if settings.kind is MaskKind.off_principal:
        return off_principal_mask(w0, rank, share)
    count = count_of(w0, share)
    if settings.kind is MaskKind.random_off_principal:
        count = int(off_principal_mask(w0, rank, share).sum())
    drawn = torch.Generator().manual_seed(zlib.crc32(f"{settings.seed}/{name}".encode()))
    return random_mask(weight.cpu(), count, drawn)


def unpacked(bits: Tensor, count: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).view(np.bool_))


def numel(parameter: Any) -> int:
    """Of the whole parameter, sharded or not."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
