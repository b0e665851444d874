"""What a launcher of Hydra's calls for each run: it may be pickled, and called on another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from rlvr_cli.launch import apart


def train(config: Any) -> int:
    """Run `config.recipe` to its end in a process of its own; returns its exit code."""
    command = [sys.executable, "-P", "-m", "rlvr_cli", "train", str(config.recipe)]
    return subprocess.run(command, env=os.environ | apart.own_path(), stdin=subprocess.DEVNULL).returncode
