"""What libraries write goes to a log; the user sees what rlvr says."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TextIO

from rlvr_cli.core.errors import UserError


@contextmanager
def redirect(log: Path) -> Iterator[TextIO]:
    """Append everything this process writes to `log`; yield the original standard output.

    File descriptors 1 and 2 are replaced and not sys.stdout alone: C++ libraries and child processes
    write to the descriptors. All is restored when the block ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # By lines: the last ones of a killed process are the interesting ones. Never closed: handlers of
    # loggers made inside the block may keep it.
    file = open(log, "a", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    try:
        with (
            os.fdopen(os.dup(saved[0]), "w", buffering=1, encoding="utf-8", errors="replace") as terminal,
            redirect_stdout(file),
            redirect_stderr(file),
        ):
            yield terminal
    finally:
        for number, original in zip((1, 2), saved, strict=True):
            os.dup2(original, number)
            os.close(original)
        # Handlers run in reverse order: this one before those of the libraries, which may still talk.
        atexit.register(_send_output_to, file)


@contextmanager
def quiet(prefix: str) -> Iterator[None]:
    """Engines and libraries talk into a log, which is kept where something fails that is no UserError."""
    folder = Path(mkdtemp(prefix=prefix))
    failed = False
    try:
        with redirect(folder / "libraries.log"):
            yield
    except Exception as error:
        failed = not isinstance(error, UserError)
        if failed:
            print(f"what libraries said is in {folder}/libraries.log", file=sys.stderr)
        raise
    finally:
        if not failed:
            rmtree(folder, ignore_errors=True)


def _send_output_to(file: TextIO) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
