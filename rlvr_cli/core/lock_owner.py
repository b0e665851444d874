"""Whether somebody works in a run directory, without asking for its lock."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path


def in_use(lock: Path) -> bool:
    """Whether the process that `lock` names lives; one of another machine is taken to.

    The text is read and the lock itself left alone: asking for it could keep a run from starting.
    """
    owner = re.fullmatch(r"process (\d+) on (.+)", lock.read_text().strip()) if lock.is_file() else None
    if owner is None or owner[2] != socket.gethostname():
        return owner is not None
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process: it lives
        return True
    return True
