"""Run by test_directory_lock.py: a process of another machine that holds, or tries to get, a run directory.

`lock_holder.py OUT HOST QUIET_S`: prints `held` once it has it, and lets go when its input ends.
"""

import socket
import sys
from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import directory_lock


def main() -> int:
    out, host, quiet = sys.argv[1:]
    socket.gethostname = lambda: host
    directory_lock.BEAT_S, directory_lock.QUIET_S = 0.1, float(quiet)
    directory_lock.LOOK_S, directory_lock.SETTLE_S = 0.05, 0.5
    try:
        with directory_lock.lock(Path(out)):
            print("held", flush=True)
            sys.stdin.read()
    except UserError as error:
        print(error, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
