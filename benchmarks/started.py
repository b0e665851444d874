"""rlvr's commands as benchmarks of learning start them: with their share of the cores, and from memory.

A command imports libraries for ten seconds and more before it trains; with `fork` it begins in a copy of a
process that has them (tests/support/warm.py), and does the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
forked: list[Any] = []
"""The process that commands are copied from, once there is one."""
running: set[int] = set()
"""Copies that are waited for. They have sessions of their own, and would outlive who asked for them."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--fork", action="store_true", help="begin each run where the libraries are in memory already"
    )


def prepare(jobs: int, fork: bool) -> None:
    """Once, before the first command: so many run at once, each with its share of the cores it may have, or
    with the threads of OMP_NUM_THREADS where these are fewer."""
    share = max(1, len(os.sched_getaffinity(0)) // jobs)
    os.environ["OMP_NUM_THREADS"] = f"{min(share, int(os.environ.get('OMP_NUM_THREADS') or share))}"
    if fork:
        sys.path.append(str(SUPPORT))
        from warm import warm

        warm.address()
        forked.append(warm)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)


def end(number: int, _: object) -> None:
    """With this process its copies."""
    for process in tuple(running):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    sys.exit(128 + number)


def copied(words: Sequence[str], out: int, err: int) -> int:
    """Exit code of a command in a copy, whose output goes to these files."""
    process = forked[0].start("command", list(words), out, err)
    running.add(process.pid)
    try:
        return int(process.wait())
    finally:
        running.discard(process.pid)


def rlvr(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command's end, with what it said."""
    if not forked:
        return subprocess.run([sys.executable, "-m", "rlvr_cli", *words], capture_output=True, text=True)
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        code = copied(words, out.fileno(), err.fileno())
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(words), code, out.read(), err.read())


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["done"])[-1]
