"""When no time is left: a run that saves and stops before it must."""

from __future__ import annotations

import os
import signal
import time

import pytest

from rlvr_cli.training.stop import END_S, Interrupted, Stop, deadline


def test_when_a_run_must_have_saved() -> None:
    assert deadline(None, {}) is None
    assert deadline(None, {"SLURM_JOB_END_TIME": "5000"}) == 5000
    assert deadline(0.5, {"SLURM_JOB_END_TIME": "5000", "RLVR_STARTED": "1000"}) == 1000 + 1800
    assert deadline(1.0, {}) == pytest.approx(time.time() + 3600, abs=60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setattr("signal.signal", lambda *details: None)  # pytest's own handlers stay
    return [0.0]


def steps_done(stop: Stop, clock: list[float], seconds: list[float], save_s: float | None) -> int:
    for number, lasts in enumerate(seconds):
        try:
            stop.before_step(save_s)
        except Interrupted:
            return number
        clock[0] += lasts
    return len(seconds)


def test_a_step_that_would_end_too_late_is_not_begun(clock: list[float]) -> None:
    """Limit 1000: 10 for the end, 2 x 20 for the save, 1.25 x 100 for a step leave 825."""
    stop = Stop(1000, lambda: clock[0])
    assert steps_done(stop, clock, [100.0] * 50, save_s=20.0) == 9 and clock[0] == 900
    assert "to be saved by" in stop.reason


def test_the_slowest_step_counts(clock: list[float]) -> None:
    assert steps_done(Stop(1000, lambda: clock[0]), clock, [10.0, 400.0, *[10.0] * 50], save_s=20.0) == 7


def test_an_unknown_save_is_taken_for_a_minute_and_no_limit_is_none(clock: list[float]) -> None:
    assert steps_done(Stop(1000, lambda: clock[0]), clock, [1.0] * 2000, save_s=None) == 869
    clock[0] = 0.0
    assert steps_done(Stop(None, lambda: clock[0]), clock, [1.0] * 2000, save_s=None) == 2000


def test_a_step_that_takes_far_too_long_is_broken_off(clock: list[float]) -> None:
    stop = Stop(1000, lambda: clock[0])
    stop.before_step(20.0)
    assert not stop.asked
    clock[0] = 1000 - END_S - 39
    assert stop.asked and stop.agreed()
    clock[0] = 0.0
    assert stop.asked, "a stop that was agreed on is not taken back"


def test_what_has_saved_ends_by_itself() -> None:
    """Under `srun --kill-on-bad-exit` the first rank that has ended has the others told once more."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = Stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        stop.saved()
        os.kill(os.getpid(), signal.SIGTERM)  # it would end the process
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
