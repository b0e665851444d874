"""rlvr's commands as benchmarks of learning start them: with their share of the cores, and from memory.

A command imports libraries for ten seconds and more before it trains; with `fork` it begins in a copy of a
process that has them (tests/support/warm.py), and does the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
LONGEST_S = 24 * 3600.0
forked: list[Any] = []
"""The process that commands are copied from, once there is one."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--fork", action="store_true", help="begin each run where the libraries are in memory already"
    )


def prepare(jobs: int, fork: bool) -> None:
    """Once, before the first command: so many run at once, each with its share of the cores it may have."""
    os.environ["OMP_NUM_THREADS"] = f"{max(1, len(os.sched_getaffinity(0)) // jobs)}"
    if fork:
        sys.path.append(str(SUPPORT))
        from warm import warm

        warm.address()
        forked.append(warm)


def rlvr(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command's end, with what it said."""
    for warm in forked:
        done: subprocess.CompletedProcess[str] = warm.run("command", list(words), LONGEST_S)
        return done
    return subprocess.run([sys.executable, "-m", "rlvr_cli", *words], capture_output=True, text=True)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["done"])[-1]
