"""Plugin: a rank waits for something that never comes."""

import os
import time
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.training import loop

    whole = loop.train_step

    def train_step(parts: Any) -> None:
        if parts.step == 3:
            time.sleep(10**6)
        whole(parts)

    loop.train_step = train_step
