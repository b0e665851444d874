"""Ends a server with the process that started it, however that ends: `python guardian.py PARENT COMMAND`.

A server is several processes. They are one process group, which is ended when the starter has ended, when it
says so (SIGTERM), or when the first of them has ended. The starter cannot do it: nothing runs after a
SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S, HASTE_S = 5.0, 1.0
"""For a server to end in order, so that it leaves no files of its own in /dev/shm and /tmp; the shorter one
when its starter is gone, whose successor may need the GPUs."""
LOOK_S = 0.1


def main() -> int:
    parent, asked = int(sys.argv[1]), []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the starter decides
    server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, process_group=0)
    while server.poll() is None and os.getppid() == parent and not asked:
        time.sleep(LOOK_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    end = time.monotonic() + (GRACE_S if asked else HASTE_S)
    while server.poll() is None and time.monotonic() < end:
        time.sleep(LOOK_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    code = server.wait()
    return 128 - code if code < 0 else code  # as a shell tells of a signal


if __name__ == "__main__":
    sys.exit(main())
