"""Where a step's seconds go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rlvr_cli.core.heartbeat import heart


class Timer:
    """Charges wall seconds to phases: `with timer("rollout"): ...`.

    Each second is charged once, to the innermost phase, so the phases of a step add up to at most
    `timing_s/step`; what is missing was spent outside every phase.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        on_phase: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_phase = on_phase
        self._phase: str | None = None
        self._since = self._taken = clock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        outer = self._phase
        self._enter(phase)
        heart.enter(phase)
        if self._on_phase is not None:
            self._on_phase(phase)
        try:
            yield
        finally:
            self._enter(outer)
            heart.enter(outer)

    def _enter(self, phase: str | None) -> None:
        now = self._clock()
        if self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def take(self) -> dict[str, float]:
        """Seconds of each phase and of everything (`timing_s/step`) since the last call."""
        self._enter(self._phase)
        seconds, self._seconds = self._seconds, {}
        # Written last: an explicit `timer("step")` around the whole step must not replace the total.
        seconds["step"] = self._since - self._taken
        self._taken = self._since
        return {f"timing_s/{phase}": value for phase, value in seconds.items()}
