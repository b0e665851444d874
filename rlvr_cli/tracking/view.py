"""Which of the two views a terminal gets."""

from __future__ import annotations

import os
from typing import TextIO

from rlvr_cli.schema import ConsoleMode
from rlvr_cli.tracking.console import PlainView


def open_view(
    mode: ConsoleMode, terminal: TextIO, *, kind: str, total_steps: int, start_step: int, title: str
) -> PlainView:
    """The live view where the terminal can show one (or when asked for), else plain lines."""
    capable = terminal.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    if mode is ConsoleMode.live or (mode is ConsoleMode.auto and capable):
        from rlvr_cli.tracking.live import LiveView  # rich's live display, which few processes need

        return LiveView(terminal, kind=kind, total_steps=total_steps, start_step=start_step, title=title)
    return PlainView(terminal, kind=kind, total_steps=total_steps, start_step=start_step, title=title)
