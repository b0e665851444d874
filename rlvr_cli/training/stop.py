"""Ctrl-C, SIGTERM and a time limit as a question the loop asks at safe points, agreed on by all ranks."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType

import torch

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import Hopeless

REMEMBERED = 20
"""Steps the slowest of which is taken as the length of the next."""
STEP_MARGIN, SAVE_MARGIN, END_S = 1.25, 2.0, 10.0
"""Factors on what a step and a save took, and seconds for the end of the process."""
UNKNOWN_SAVE_S = 60.0
"""Taken for a save where there has been none yet."""


class Interrupted(Exception):
    """Somebody asked the run to stop; what is unfinished of this step is to be forgotten."""


class NoVerdict(Hopeless):
    """Verifiers, or environments, are silent, and why."""


def deadline(must_save_by: float | None, environ: Mapping[str, str]) -> float | None:
    """When a run must have saved and stopped, in seconds of `time.time()`; None: never.

    `must_save_by` is hours after the start of the command, which launch leaves in RLVR_STARTED; without
    it, the end of the Slurm job.
    """
    if must_save_by is not None:
        return float(environ.get("RLVR_STARTED") or time.time()) + 3600 * must_save_by
    end = environ.get("SLURM_JOB_END_TIME")
    return float(end) if end else None


class Stop:
    """Remembers the first SIGINT or SIGTERM, and knows when time runs out; a second signal ends the process.

    Only rank 0 looks at the clock: clocks of machines differ.
    """

    def __init__(self, deadline: float | None = None, clock: Callable[[], float] = time.time) -> None:
        self.deadline = deadline if distributed.rank() == 0 else None
        self._clock = clock
        self._signalled = False
        self._began: float | None = None
        self._steps: deque[float] = deque(maxlen=REMEMBERED)
        self._save_s = UNKNOWN_SAVE_S
        self._late = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            os._exit(130)
        self._signalled = True

    @property
    def asked(self) -> bool:
        """Whether this rank has a reason to stop, also in the middle of a step that takes too long."""
        self._late = self._late or self._too_late(0.0)
        return self._signalled or self._late

    @property
    def reason(self) -> str:
        """Why, where it was not a signal, to be put behind "stopped after step 3"."""
        if not self._late or self.deadline is None:
            return ""
        when = time.strftime("%H:%M:%S", time.localtime(self.deadline))
        return f" to be saved by {when} (checkpoint.must_save_by, or the end of the Slurm job)"

    def before_step(self, save_s: float | None) -> None:
        """Raise Interrupted where a stop was asked for, or a step as long as the slowest would end too late.

        `save_s` is what the last checkpoint took, if there was one. All ranks must call it, before each step.
        """
        now = self._clock()
        if self._began is not None:
            self._steps.append(now - self._began)
        self._began = now
        self._save_s = UNKNOWN_SAVE_S if save_s is None else save_s
        self._late = self._late or self._too_late(max(self._steps, default=0.0))
        self.check()

    def agreed(self) -> bool:
        """Whether any rank was asked; the same answer on every rank. All ranks must call it."""
        return float(distributed.max_over_ranks(torch.tensor([float(self.asked)]))) > 0

    def check(self) -> None:
        """Raise Interrupted where all ranks agree. All ranks must call it."""
        if self.agreed():
            raise Interrupted

    def saved(self) -> None:
        """Wait until all ranks have saved; from then on signals are ignored. All ranks must call it.

        Whoever starts ranks may end the others as soon as the first one has ended: each is to end by itself.
        """
        distributed.barrier()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _too_late(self, step_s: float) -> bool:
        if self.deadline is None:
            return False
        return self._clock() + STEP_MARGIN * step_s + SAVE_MARGIN * self._save_s + END_S > self.deadline
