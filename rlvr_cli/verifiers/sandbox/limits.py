"""What a program may use, and how it is kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

NUMPY_MB = 192
"""Address space that numpy takes: 83 MiB when it is imported, some 50 more at its first large product."""
MAX_MESSAGE = 4 << 20
"""Bytes of one JSON message from a program; a longer one ends it."""


class Isolation(Enum):
    auto = "auto"
    """bwrap or else userns; an error where neither works."""
    bwrap = "bwrap"
    """A box made by bubblewrap."""
    userns = "userns"
    """A box made by our own system calls."""
    rlimit = "rlimit"
    """No box: limits and the system call filter, and Landlock, without which only root may use it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one program. Wall-clock time is given with each run."""

    memory_mb: int = 512
    """Address space of each process, and `NUMPY_MB` more where there is numpy."""
    numpy: bool = False
    """Whether programs find the host's numpy, read-only."""
    processes: int = 8
    """Processes and threads at a time, the program included."""
    cpu_s: int = 60
    """Processor seconds of each process; a net under the wall clock."""
    file_mb: int = 16
    """Largest file, and size of the private /tmp (where there is one)."""
    output_mb: int = 8
    """Standard output that is read; more ends the program."""
