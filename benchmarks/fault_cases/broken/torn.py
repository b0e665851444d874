"""Plugin: the machine goes down right after a checkpoint, a part of which was not on the disk yet."""

import os
import signal
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.training import loop

    whole = loop.save

    def save(parts: Any, **given: Any) -> None:
        whole(parts, **given)
        if parts.step == 4 and not (parts.out / "torn").exists():
            parts.checkpoints.close()
            files = [p for p in (parts.out / "checkpoints" / "step_4").rglob("*") if p.is_file()]
            largest = max(files, key=lambda file: file.stat().st_size)
            os.truncate(largest, largest.stat().st_size // 2)
            (parts.out / "torn").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    loop.save = save
