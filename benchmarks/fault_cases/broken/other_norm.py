"""Plugin: the engine's normalisations have another epsilon than the trainer's."""

import os
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.rollout.hf import HFEngine

    whole = HFEngine.__init__

    def made(self: Any, *given: Any, **more: Any) -> None:
        whole(self, *given, **more)
        for module in self.model.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = 0.05

    HFEngine.__init__ = made  # type: ignore[method-assign]
