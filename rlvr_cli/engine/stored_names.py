"""Weights as they stand in a model's files, where those of the model in memory have other names or shapes."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def as_stored(hf: Any, name: str, weight: Tensor) -> dict[str, Tensor]:
    """Name in the files -> tensor, of one weight that `Optimised.weights` gives.

    Experts that transformers keeps in one tensor are single ones in most files, and a model that sees has
    its language part under another name there: what `save_pretrained` does when it writes. A weight whose
    conversion needs others beside it is returned as it is.
    """
    from transformers.core_model_loading import revert_weight_conversion

    base = hf.get_base_model() if hasattr(hf, "get_base_model") else hf
    try:
        return dict(revert_weight_conversion(base, {name: weight}))
    except (KeyError, ValueError, RuntimeError):
        return {name: weight}
