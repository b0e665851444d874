"""What libraries say while something is measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rlvr_cli.launch.redirect_output import redirect


@contextmanager
def quiet(folder: Path) -> Iterator[TextIO]:
    """All output into a log in `folder`, whose end is shown where the block fails; gives the terminal."""
    log = folder / "log"
    try:
        with redirect(log) as terminal:
            yield terminal
    except Exception:
        print(log.read_text()[-4000:], file=sys.stderr)
        raise
