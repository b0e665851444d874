"""A cache that is read and never written, and what a probe may see of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

FULL = "full_attention"


class ReadOnly(Cache):
    """The keys and values of another cache. A forward pass attends to them and to its own, which are not
    kept: the other cache stays bit for bit what it was."""

    def __init__(self, stored: Any) -> None:
        super().__init__(layers=stored.layers)  # the same layers, whose `update` is never called

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        layer: Any = self.layers[layer_idx]
        keys, values = layer.keys.to(key_states.dtype), layer.values.to(value_states.dtype)
        return torch.cat([keys, key_states], -2), torch.cat([values, value_states], -2)


def refusal(config: Any) -> str | None:
    """Why a model's cache cannot be read at any position; None where it can."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or [FULL])
    if kinds - {FULL}:
        return f"layers of {', '.join(sorted(kinds - {FULL}))}"
    if getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True):
        return "a sliding window"
    return None


def visible(places_RM: Tensor, seen_RL: Tensor) -> Tensor:
    """bool [R, M, L + M]: probe m of row r sees the tokens up to its place, and of the probes itself alone.

    seen_RL: which of the cached tokens are any (False: padding).
    """
    rows, probes = places_RM.shape
    columns_L = torch.arange(seen_RL.shape[1], device=places_RM.device)
    before_RML = (columns_L <= places_RM[:, :, None]) & seen_RL[:, None, :]
    itself_RMM = torch.eye(probes, dtype=torch.bool, device=places_RM.device).expand(rows, probes, probes)
    return torch.cat([before_RML, itself_RMM], -1)


def additive(visible_RMK: Tensor, dtype: torch.dtype) -> Tensor:
    """[R, 1, M, K] for any attention of transformers that takes a mask: 0, or the least number there is."""
    hidden = torch.zeros(visible_RMK.shape, dtype=dtype, device=visible_RMK.device)
    return hidden.masked_fill(~visible_RMK, torch.finfo(dtype).min)[:, None]
