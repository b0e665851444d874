"""Plugin: from the second sync on the engine goes on with the old numbers of one matrix."""

import os
from typing import Any

if "RANK" in os.environ:
    import torch

    from rlvr_cli.rollout.hf import HFEngine

    whole = HFEngine.load

    def load(self: Any, weights: Any, version: int = 0) -> Any:
        kept = next(p for n, p in self.model.named_parameters() if "down_proj" in n)
        before = kept.detach().clone()
        receipt = whole(self, weights, version)
        if version > 0:
            with torch.no_grad():
                kept.copy_(before)
        return receipt

    HFEngine.load = load  # type: ignore[method-assign]
