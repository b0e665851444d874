"""What a launcher of Hydra's calls for each run: it may be pickled, and called on another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rlvr_cli import compose
from rlvr_cli.launch import rank
from rlvr_cli.launch.apart import launch_apart, own_path
from rlvr_cli.launch.external_ranks import joined_ranks


def train(config: Any) -> int:
    """Run the recipe `config.recipe` until it has ended or was stopped; returns 0, or a rank's exit code.

    UserError and RunFailed say why it has not. Where the launcher has started several tasks (Slurm's
    `nodes`, `tasks_per_node`), each is a rank of the run.
    """
    if joined_ranks(os.environ) is None:
        launch_apart(compose.read(Path(config.recipe)))
        return 0
    command = [sys.executable, "-P", "-m", "rlvr_cli", "train", str(config.recipe)]
    code = subprocess.run(command, env=os.environ | own_path(), stdin=subprocess.DEVNULL).returncode
    return rank.OK if code == rank.STOPPED else code
