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

    def agreed(self) -> bool:
        """Whether any rank was asked; the same answer on every rank. All ranks must call it."""
        return float(distributed.max_over_ranks(torch.tensor([float(self.asked)]))) > 0

    def check(self) -> None:
        """Raise Interrupted where all ranks agree. All ranks must call it."""
        if self.agreed():
            raise Interrupted
