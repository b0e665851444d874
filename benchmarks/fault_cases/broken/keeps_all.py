"""Plugin: a list in a rank that grows by 16 MiB a step."""

import os
from typing import Any

if "RANK" in os.environ:
    import numpy as np

    from rlvr_cli.training import loop

    kept: list[Any] = []
    whole = loop.train_step

    def train_step(parts: Any) -> None:
        kept.append(np.ones(2**21))
        whole(parts)

    loop.train_step = train_step
