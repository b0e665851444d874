"""DeepSpeed's checkpoints without its writing: what it would write, kept in memory for another thread."""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from typing import Any

from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from torch import Tensor

from rlvr_cli.core import tensor_files

CLASSES = (LossScaler, ZeroStageEnum, fragment_address)
"""What DeepSpeed's files hold besides tensors and plain values; to make one of them runs nothing."""


class Snapshots(TorchCheckpointEngine):
    """Keeps what DeepSpeed's `save_checkpoint` hands over, and reads without running what a file holds.

    DeepSpeed saves between collectives: an error of one rank's disk there would leave the others waiting
    for it. With this in the engine's place of its own it touches no file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = True
        """Whether to keep copies, which later updates leave alone, or the live tensors themselves."""
        self.files: dict[str, Any] = {}

    def create(self, info: Any) -> None:
        self.files = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    def save(self, state_dict: Any, path: str) -> None:
        self.files[os.path.normpath(path)] = copied(state_dict) if self.copies else state_dict

    def load(self, path: str, map_location: Any = None) -> Any:
        return tensor_files.read(path, CLASSES, map_location=map_location)


def copied(value: Any, seen: dict[Any, Tensor] | None = None) -> Any:
    """`value` with every tensor copied to CPU memory; what shared its memory (tied weights) still does."""
    seen = {} if seen is None else seen
    if isinstance(value, Tensor):
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.dtype)
        key = (*place, tuple(value.shape), value.stride(), value.device)
        if key not in seen:
            seen[key] = value.detach().to("cpu", copy=True)
        return seen[key]
    if type(value) in (dict, OrderedDict):
        return type(value)((key, copied(item, seen)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(copied(item, seen) for item in value)
    return copy.deepcopy(value)
