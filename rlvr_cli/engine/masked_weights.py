"""Which weights of a model have a mask, and which of the others train. `rlvr plan` reads this file."""

from __future__ import annotations

from typing import Any

from torch import nn

from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import WeightMask


def masked_weights(hf: Any, settings: WeightMask) -> dict[str, Any]:
    """Name -> weight, in the order of the model. Freezes the others, where the mask says so.

    UserError where a name in `model.mask.targets` is no linear layer's.
    """
    linear = {name: layer for name, layer in hf.named_modules() if isinstance(layer, nn.Linear)}
    if settings.targets == "all-linear":
        head = hf.get_output_embeddings()
        chosen = {name: layer for name, layer in linear.items() if layer is not head}
    else:
        chosen = {}
        for target in (each.strip() for each in settings.targets.split(",")):
            found = {name: layer for name, layer in linear.items() if f".{name}".endswith(f".{target}")}
            if not found:
                raise UserError(f"model.mask.targets: no linear layer of the model is called '{target}'")
            chosen |= found
    masked = {f"{name}.weight": layer.weight for name, layer in chosen.items()}
    if not settings.train_others:
        mine = {id(weight) for weight in masked.values()}
        for parameter in hf.parameters():
            parameter.requires_grad_(id(parameter) in mine)
    return masked
