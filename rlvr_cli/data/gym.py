"""Problems of reasoning-gym's tasks: `reasoning_gym:<task>`, or `reasoning_gym:suite` for several in turn.

They are made in an interpreter of their own (gym_worker.py) and come back as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError

PREFIX = "reasoning_gym:"


def generate(name: str, split: str, options: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Distinct problems as {id, prompt, answer, completion, subject, entry}, the same for the same arguments.

    `completion` is the gold answer inside <answer></answer>. `entry` is what the library's scorer needs.
    UserError: an unknown or refused task, a wrong option, too few problems for options.size.
    """
    root = str(Path(__file__).parents[2])
    request = {"name": name, "split": split, "options": dict(options), "seed": seed}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "rlvr_cli.data.gym_worker"],
        input=json.dumps(request, default=str).encode(),
        capture_output=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
            # Several tasks walk over sets of strings: with random hashes every rank would make its own.
            "PYTHONHASHSEED": "0",
        },
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"making problems of {PREFIX}{name} failed (exit {done.returncode}): {last[0]}")
    reply = json.loads(done.stdout)
    if "error" in reply:
        raise UserError(reply["error"])
    return reply["rows"]
