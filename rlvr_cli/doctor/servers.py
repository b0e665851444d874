"""What rollout servers need of a machine besides vLLM: a port, and files in memory that others can open."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from rlvr_cli.doctor.check_result import CheckResult, Status

READ = "import sys; print(len(open(sys.argv[1], 'rb').read()))"
SIZE = 2**16


def servers() -> list[CheckResult]:
    """A connection over loopback, and weights on their way as another process finds them."""
    try:
        connect()
        read_elsewhere()
    except (OSError, RuntimeError) as error:
        return [
            CheckResult(
                name="servers",
                status=Status.failed,
                detail=f"rollout.placement=servers would not work: {error}",
                fix="allow connections to 127.0.0.1, and processes to read each other's /proc; or take "
                "rollout.placement=in_process",
                needed=False,
            )
        ]
    detail = "connections over loopback, files in memory read by another process"
    return [CheckResult(name="servers", status=Status.ok, detail=detail, needed=False)]


def connect() -> None:
    """OSError where nothing can listen on a port, or nobody can reach it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        socket.create_connection(listening.getsockname(), timeout=5).close()


def read_elsewhere() -> None:
    """RuntimeError where another process cannot open what rollout/servers/parcels.py makes."""
    descriptor = os.memfd_create("rlvr-doctor")
    try:
        os.write(descriptor, b"\0" * SIZE)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        read = subprocess.run(
            [sys.executable, "-I", "-c", READ, path], capture_output=True, text=True, timeout=30
        )
        if read.stdout.strip() != f"{SIZE}":
            raise RuntimeError(f"another process cannot read {path}: {read.stderr.strip().splitlines()[-1:]}")
    finally:
        os.close(descriptor)
