"""Ctrl-C and SIGTERM as a question the loop asks at safe points, agreed on by all ranks."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch

from rlvr_cli.engine import distributed


class Interrupted(Exception):
    """Somebody asked the run to stop; what is unfinished of this step is to be forgotten."""


class Stop:
    """Remembers the first SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(130)
        self.asked = True

    def check(self) -> None:
        """Raise Interrupted on every rank if any rank was asked. All ranks must call it."""
        if float(distributed.max_over_ranks(torch.tensor([float(self.asked)]))) > 0:
            raise Interrupted
