"""The child side of workers.py: `python -m rlvr_cli.vision.worker <descriptor> <parent pid>`.

A plain new process that opens images for its parent, one after the other, and ends with it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from rlvr_cli.vision.pictures import BadImage

LOOK_S = 2.0
"""Between two looks at whether the parent is still there: a fork of it may hold the pipe open."""


def serve(connection: Connection, parent: int) -> None:
    """Answer (function, arguments) with ("array", (shape, type)), whose bytes follow, ("value", anything),
    ("bad", what a BadImage says) or ("failed", what another exception says)."""
    import numpy as np

    while True:
        while not connection.poll(LOOK_S):
            if os.getppid() != parent:
                return
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            result = function(*arguments)
        except BadImage as bad:
            connection.send(("bad", str(bad)))
        except Exception as error:  # of a kind that the parent would see in its own process
            connection.send(("failed", f"{type(error).__name__}: {error}"))
        else:
            if isinstance(result, np.ndarray):
                connection.send(("array", (result.shape, result.dtype.str)))
                connection.send_bytes(np.ascontiguousarray(result).data.cast("B"))
            else:
                connection.send(("value", result))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent has ended meanwhile
        serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
