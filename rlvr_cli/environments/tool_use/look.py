"""The tools of a recipe as a process of its own finds them (look_process.py): the trainer imports nothing of
the user's, starts no server, and loads no `mcp`."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.tool_use.tool import Schema

SHOWN_ERROR = 300


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What there is."""

    schemas: list[Schema]

    @property
    def sha256(self) -> str:
        """Of the schemas: other tools make another prompt."""
        return sha256(json.dumps(self.schemas, sort_keys=True).encode()).hexdigest()


def look(settings: Any, seconds: float) -> Looked:
    """The tools that `settings`, a `Tools`, name; UserError, in a line, where there is something wrong."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]))
    begin = pickle.dumps((sys.path, plugins.places()))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "rlvr_cli.environments.tool_use.look_process"],
            input=begin + pickle.dumps(settings),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"the tools have not loaded within {seconds:g} s; raise start_s") from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:SHOWN_ERROR]
        raise UserError(f"the tools ended the process that loaded them ({said or done.returncode})")
    answer = pickle.loads(done.stdout)
    if isinstance(answer, str):
        raise UserError(answer)
    return Looked(schemas=answer)
