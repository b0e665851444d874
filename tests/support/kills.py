"""`benchmarks/kill.py` as a module: a run that is killed, and the comparison with one that is not."""

import subprocess
import sys
from pathlib import Path

from places import ROOT
from run_helpers import started
from warm import Started

sys.path.append(str(ROOT / "benchmarks"))

import kill

__all__ = ["kill", "start_warm"]


def start_warm(recipe: Path, out: Path, overrides: list[str]) -> "subprocess.Popen[bytes] | Started":
    """In the place of `kill.start`: launcher and ranks have the libraries imported."""
    with open(out.with_suffix(".log"), "ab") as log:
        return started(log.fileno(), log.fileno(), "train", str(recipe), f"out={out}", *overrides)
