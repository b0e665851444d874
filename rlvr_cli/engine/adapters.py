"""LoRA adapters by themselves, as peft names them in its files, and what they add to a weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import deepspeed
import torch
from torch import Tensor

from rlvr_cli.engine.adapter_start import NAME, PISSA, product


def adapters_of(hf: Any, *, sharded: bool) -> Iterator[tuple[str, Tensor]]:
    """(name, whole matrix) of every A and B, not scaled by alpha / rank; all ranks in step.

    The live tensors, but under ZeRO-3 (`sharded`), where each is gathered for itself.
    """
    for name, parameter in hf.named_parameters():
        if ".lora_" not in name:
            continue
        with deepspeed.zero.GatheredParameters([parameter], enabled=sharded), torch.no_grad():
            whole = parameter.detach().clone() if sharded else parameter.detach()
        yield name.replace(f".{NAME}.", "."), whole


def takes_weights(hf: Any) -> bool:
    """Whether the weights beneath the adapters are others than the start model's (PiSSA)."""
    return hasattr(hf, "peft_config") and hf.peft_config[NAME].init_lora_weights == PISSA


def parameters_of(layer: Any) -> list[Any]:
    """Of an adapted linear layer what `change_of` reads besides its weight."""
    found = [layer.lora_A[NAME].weight, layer.lora_B[NAME].weight]
    return found + ([layer.lora_magnitude_vector[NAME].weight] if layer.use_dora[NAME] else [])


def change_of(hf: Any, layer: Any, weight: Tensor) -> Tensor:
    """What the adapters add to the weight of their layer, whose parameters are whole: of its shape.

    With DoRA (Liu et al. 2024, arXiv 2402.09353) the weight becomes m (W + s B A) / |W + s B A|, with norms
    of rows. These are made and rounded by what makes them in the forward pass: the start model is unchanged.
    """
    if not layer.use_dora[NAME] and not takes_weights(hf):
        change: Tensor = layer.get_delta_weight(NAME)
        return change
    added = product(layer)
    if not layer.use_dora[NAME]:
        return added
    dora = layer.lora_magnitude_vector[NAME]
    a, b = layer.lora_A[NAME], layer.lora_B[NAME]
    plain = dora.get_lora_weight(a, b).to(weight.dtype)
    factor = dora.weight / dora.get_weight_norm(weight, plain, layer.scaling[NAME])
    return factor.float()[:, None] * (weight.float() + added) - weight.float()
