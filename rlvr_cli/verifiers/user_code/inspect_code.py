"""A user's function as a process of its own finds it (look_process.py): what the trainer knows of it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.verifiers.user_code.case import Case
from rlvr_cli.verifiers.user_code.conventions import SPECS, Convention, Spec

SHOWN_ERROR = 300


@dataclass(slots=True, kw_only=True)
class Found:
    """What there is to know of a function."""

    convention: Convention
    seen: str
    """What it was known by."""
    asynchronous: bool
    line: int
    """Where it begins in its file; 0: not known."""
    text: bytes
    """The file as it was read; empty of a module."""

    @property
    def spec(self) -> Spec:
        return SPECS[self.convention]


def look(settings: Any, seconds: float) -> Found:
    """Of the function that `settings`, a `Python`, name; UserError where it cannot be called."""
    try:
        text = Path(settings.path).read_bytes() if settings.path is not None else b""
    except OSError as error:
        raise UserError(f"python: path: {settings.path}: {error.strerror}") from error
    found: Found = _ask("look", (settings, text), seconds)
    return found


def first_call(settings: Any, text: bytes, case: Case, seconds: float) -> tuple[str, Sequence[str]]:
    """The call for a case as one could write it, and which columns it lacks."""
    found: tuple[str, Sequence[str]] = _ask("render", (settings, text, case), seconds)
    return found


def _ask(what: str, question: tuple[Any, ...], seconds: float) -> Any:
    shown, root = question[0].shown, str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "rlvr_cli.verifiers.user_code.look_process"],
            input=pickle.dumps(sys.path) + pickle.dumps((what, question)),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"python: {shown} is not imported within {seconds:g} s (verification.start_s)"
        ) from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:SHOWN_ERROR]
        raise UserError(f"python: {shown} ended the process that imported it ({said or done.returncode})")
    answer = pickle.loads(done.stdout)
    if isinstance(answer, str):
        raise UserError(f"python: {answer}")
    return answer[0]
