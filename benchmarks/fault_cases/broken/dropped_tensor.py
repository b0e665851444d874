"""Plugin: from the second sync on one matrix is not sent."""

import os
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.rollout.hf import HFEngine

    whole = HFEngine.load

    def load(self: Any, weights: Any, version: int = 0) -> Any:
        sent = [(n, w) for n, w in weights if version == 0 or n != "model.layers.1.mlp.down_proj.weight"]
        return whole(self, sent, version)

    HFEngine.load = load  # type: ignore[method-assign]
