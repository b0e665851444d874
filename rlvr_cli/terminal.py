"""What the user sees, apart from what libraries write."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def redirect(log: Path) -> Iterator[TextIO]:
    """Append everything this process writes to `log`; yield the original standard output.

    File descriptors 1 and 2 are replaced, not sys.stdout alone: C++ libraries and child processes
    write to the descriptors. Both are restored when the block ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    saved = os.dup(1), os.dup(2)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    buffered = sys.stdout.line_buffering
    with os.fdopen(os.dup(saved[0]), "w", buffering=1, encoding="utf-8", errors="replace") as terminal:
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)
        # A file makes Python buffer by blocks, and a killed process would lose the last lines.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        try:
            yield terminal
        finally:
            _flush()
            for number, original in zip((1, 2), saved, strict=True):
                os.dup2(original, number)
                os.close(original)
            sys.stdout.reconfigure(line_buffering=buffered)  # type: ignore[union-attr]


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
