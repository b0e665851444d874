"""How adapters start: as the principal part of the weights (PiSSA), and what DoRA needs of ZeRO-3."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.weight_masks import leading

PISSA = "pissa"
NAME = "default"
"""Of the only adapter, in peft."""


def product(layer: Any) -> Tensor:
    """s B A in fp32."""
    a, b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    scaled: Tensor = layer.scaling[NAME] * (b.detach().float() @ a.detach().float())
    return scaled


def pissa(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """A = sqrt(S) V^T and B = U sqrt(S) of the `rank` largest singular values over `scale`, in fp32.

    PiSSA (Meng et al. 2024, arXiv 2404.02948). scale * B A is the principal part of the weight.
    """
    u, s, vh = leading(weight, rank)
    root = (s / scale).sqrt()
    return (root[:, None] * vh).float(), (u * root).float()


def take_principal_part(hf: Any) -> None:
    """Give new adapters of peft their start by PiSSA, and leave in the weights what is left.

    peft's own `init_lora_weights="pissa"` subtracts what the adapters are in fp32; rounded to bf16 afterwards
    they are something else, and the model no longer the start model. Here what is subtracted is what stays.
    All ranks must call it, and have what rank 0 found. UserError where a layer is not a linear one, or its
    weight another's too.
    """
    embedding = hf.get_base_model().get_input_embeddings().weight
    for name, layer in hf.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        base = layer.get_base_layer()
        if base.weight.is_meta:  # `rlvr plan`
            continue
        if len(layer.lora_A) == 0 or base.weight is embedding or not isinstance(base, torch.nn.Linear):
            raise UserError(
                f"model.lora.init=pissa: the weight of {name.removeprefix('base_model.model.')} is not a "
                "linear layer's alone; leave it out of model.lora.targets"
            )
        heart.beat()
        _take(layer, base.weight)
    hf.peft_config[NAME].init_lora_weights = PISSA


def _take(layer: Any, weight: Any) -> None:
    import deepspeed  # here, as `rlvr plan` reads this file: its start says things on standard output

    sharded = hasattr(weight, "ds_id")
    with deepspeed.zero.GatheredParameters([weight], modifier_rank=0, enabled=sharded), torch.no_grad():
        a, b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        found = pissa(weight.to(distributed.device()), len(a), layer.scaling[NAME])
        for own, part in zip((a, b), found, strict=True):
            own.copy_(distributed.from_rank_0(part.to(own.dtype).cpu()))
        if not sharded or distributed.rank() == 0:
            weight.copy_(weight.float() - product(layer))
        if layer.use_dora[NAME]:  # norms as the forward pass will round them
            dora = layer.lora_magnitude_vector[NAME]
            principal = dora.get_lora_weight(layer.lora_A[NAME], layer.lora_B[NAME]).to(weight.dtype)
            norms = dora.get_weight_norm(weight, principal, layer.scaling[NAME])
            dora.weight.copy_(distributed.from_rank_0(norms.contiguous()))


def keep_together(hf: Any) -> None:
    """Let ZeRO-3 gather a layer with DoRA as one: it reads its weight beside the linear layer that owns it.

    UserError where the output layer is one, which is computed in chunks without peft's layer.
    """
    if hasattr(hf.get_base_model().get_output_embeddings(), "base_layer"):
        raise UserError(
            "model.lora.dora: model.lora.targets adapts the output layer, which is computed without DoRA; "
            "name the other layers in model.lora.targets"
        )
    layers = [layer for layer in hf.modules() if hasattr(layer, "lora_A")]
    if not any(hasattr(layer.get_base_layer().weight, "ds_id") for layer in layers):
        return
    from deepspeed.utils import set_z3_leaf_module

    for layer in layers:
        set_z3_leaf_module(layer, True)
    # Else the first layers, whose inputs have no gradient, would be released before their backward pass.
    hf.enable_input_require_grads()
