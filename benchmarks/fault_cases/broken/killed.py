"""Plugin: rank 1 kills itself, as the kernel does where memory is short."""

import os
import signal
from typing import Any

if os.environ.get("RANK") == "1":
    from rlvr_cli.training import loop

    whole = loop.train_step

    def train_step(parts: Any) -> None:
        if parts.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(parts)

    loop.train_step = train_step
