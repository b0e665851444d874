"""Plugin: from the ninth step on the engine's logprobs are off by ever more."""

import os
from typing import Any

if "RANK" in os.environ:
    import numpy as np

    from rlvr_cli.rollout.hf import HFEngine

    whole, noise = HFEngine._completion, np.random.default_rng(0)

    def completion(self: Any, *given: Any) -> Any:
        made = whole(self, *given)
        spread = 0.04 * max(0, self.version - 8)
        made.logprobs += noise.normal(0, spread, len(made.logprobs)).astype(np.float32)
        return made

    HFEngine._completion = completion  # type: ignore[method-assign]
