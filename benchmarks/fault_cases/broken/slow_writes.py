"""Plugin: a step's samples take a second more to write, as on a network disk that others use."""

import os
import time
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.tracking.records import RolloutRecords

    whole = RolloutRecords.write

    def write(self: Any, *given: Any, **more: Any) -> None:
        time.sleep(1.0)
        whole(self, *given, **more)

    RolloutRecords.write = write  # type: ignore[method-assign]
