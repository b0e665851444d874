"""`trainer.kernels=liger`: fused norms, rotary embeddings and gated feed-forward layers of liger-kernel.

Its loss kernels stay out: the output layer is our own (engine/logprobs.py).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from rlvr_cli.core.errors import UserError

PARTS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "geglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}
"""Arguments of liger-kernel's functions; each takes those its family of models has."""


def check_liger() -> None:
    """UserError where its kernels cannot run."""
    if not torch.cuda.is_available():
        raise UserError("trainer.kernels=liger needs a CUDA GPU; use trainer.kernels=plain")
    if find_spec("liger_kernel") is None:
        raise UserError('trainer.kernels=liger needs liger-kernel: pip install "rlvr[liger]"')


def use_liger(hf: Any) -> None:
    """Give a model (below peft's wrapping, if there is one) liger-kernel's modules; weights stay as they are.

    liger-kernel also changes the model's family for the whole process: models of it that are loaded later
    have its modules too. Raises UserError where it knows no such family.
    """
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    base = hf.get_base_model() if hasattr(hf, "get_base_model") else hf
    family = base.config.model_type
    if family not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise UserError(f"trainer.kernels=liger: liger-kernel has no kernels for '{family}'; use plain")
    _apply_liger_kernel_to_instance(base, **PARTS)
