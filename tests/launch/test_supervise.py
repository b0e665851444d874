"""Which of several failures is the cause, and which failures end a run for good."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_cli.core.heartbeat import Heart
from rlvr_cli.launch import rank
from rlvr_cli.launch.supervise import Failure, first_failure, reason_to_end

TWICE = "the same failure has come twice with no checkpoint in between"
FAILURE = Failure(
    rank=1, cause="OSError: disk full", kind="OSError", where="writer.py:9 in put", code=1, time=50.0
)


def reported(out: Path, number: int, *, time: float, code: int = rank.FAILED) -> None:
    """The report of a rank that has raised an error."""
    path = rank.report_path(out, number)
    path.parent.mkdir(exist_ok=True)
    report = rank.Report(rank=number, code=code, cause=f"Error: of rank {number}", where="", time=time)
    path.write_text(json.dumps(asdict(report)))


def ranks(count: int) -> Any:
    return SimpleNamespace(hearts=[Heart() for _ in range(count)])


@pytest.mark.parametrize("times", [(13.0, 11.0, 12.0), (11.5, 11.0, 11.9), (11.1, 11.0, 30.0)])
def test_the_earliest_failure_is_the_cause(times: tuple[float, ...], tmp_path: Path) -> None:
    """The other ranks only lost their connection to it."""
    for number, time in enumerate(times):
        reported(tmp_path, number, time=time)
    assert first_failure(tmp_path, ranks(3), [1, 1, 1], looked=10.0).cause == "Error: of rank 1"


def test_a_killed_rank_failed_right_after_it_was_last_seen(tmp_path: Path) -> None:
    reported(tmp_path, 0, time=10.2)
    found = first_failure(tmp_path, ranks(2), [1, -9], looked=10.0)
    assert (found.rank, found.cause, found.code) == (1, "killed by SIGKILL (out of memory?)", -9)
    assert first_failure(tmp_path, ranks(2), [1, -9], looked=10.4).rank == 0


def test_a_users_mistake_is_shown_before_any_other_failure(tmp_path: Path) -> None:
    reported(tmp_path, 0, time=11.0)
    reported(tmp_path, 1, time=12.0, code=rank.USER_ERROR)
    reported(tmp_path, 2, time=13.0, code=rank.USER_ERROR)
    assert first_failure(tmp_path, ranks(3), [1, 2, 2], looked=10.0).rank == 1


@pytest.mark.parametrize(
    ("step", "other", "why"),
    [
        (4, {}, TWICE),
        (4, {"rank": 0, "time": 90.0, "cause": "OSError: no space left"}, TWICE),  # on another rank or disk
        (3, {}, TWICE),  # the checkpoint of step 4 was damaged
        (5, {}, None),  # it got on
        (4, {"kind": "MemoryError"}, None),
        (4, {"where": "loop.py:7 in train"}, None),
    ],
)
def test_the_same_failure_twice_without_a_new_checkpoint_ends_the_run(
    step: int, other: dict[str, Any], why: str | None
) -> None:
    assert reason_to_end(replace(FAILURE, **other), step, (FAILURE, 4), asked=False) == why


def test_a_first_failure_ends_a_run_only_where_it_was_asked_to_or_gave_up() -> None:
    assert reason_to_end(FAILURE, 4, None, asked=False) is None
    assert reason_to_end(FAILURE, 4, None, asked=True) == "it failed while it was being stopped"
    assert reason_to_end(replace(FAILURE, final=True), 4, None, asked=False) == "the run itself has given up"
