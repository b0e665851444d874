"""LoRA adapters by themselves, as peft names them in its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import deepspeed
import torch
from torch import Tensor


def adapters_of(hf: Any, *, sharded: bool) -> Iterator[tuple[str, Tensor]]:
    """(name, whole matrix) of every A and B, not scaled by alpha / rank; all ranks in step.

    The live tensors, but under ZeRO-3 (`sharded`), where each is gathered for itself.
    """
    for name, parameter in hf.named_parameters():
        if ".lora_" not in name:
            continue
        with deepspeed.zero.GatheredParameters([parameter], enabled=sharded), torch.no_grad():
            whole = parameter.detach().clone() if sharded else parameter.detach()
        yield name.replace(".default.", "."), whole
