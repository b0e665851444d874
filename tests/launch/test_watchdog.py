"""Who is blamed for a run that stands still."""

from __future__ import annotations

import pytest

from rlvr_cli.core.heartbeat import Beat
from rlvr_cli.launch import watchdog


def beat(silent: float, phase: str = "rollout", waits: str = "") -> Beat:
    return Beat(time=1000 - silent, since=900.0, done=4, missing=0, phase=phase, waits=waits)


@pytest.mark.parametrize(
    ("beats", "guilty"),
    [
        ([beat(31), beat(5)], [0]),
        ([beat(29), beat(29)], []),
        ([beat(50, waits="gather"), beat(5)], []),  # it waits for one that is at work
        ([beat(50, waits="gather"), beat(40)], [1]),
        ([beat(50, waits="gather"), beat(40, waits="sum")], [0, 1]),  # each for the other
        ([beat(119, "start"), beat(50, "start", "barrier")], []),
        ([beat(121, "start"), beat(50, "start", "barrier")], [0]),
    ],
)
def test_who_holds_the_run_up(beats: list[Beat], guilty: list[int]) -> None:
    assert watchdog.hung(dict(enumerate(beats)), 30, now=1000) == guilty


def test_a_rank_in_a_collective_of_deepspeed_waits() -> None:
    """Its beats do not say so; both were silent in the same phase."""
    stacks = {
        0: ['File "/x/torch/distributed/distributed_c10d.py", line 9 in all_reduce'],
        1: ['File "/x/rlvr_model.py", line 3 in forward'],
    }
    beats = {0: beat(40, "update"), 1: beat(39, "update")}
    found = watchdog.examine(beats, stacks, 30, now=1000)
    assert (found.rank, found.cause) == (1, "no sign of life for 39 s in update of step 5")
    assert found.where == "rlvr_model.py:3 in forward"
    assert found.ranks == [
        "rank 0: waits for the others in a collective; update of step 5 for 100 s "
        "(distributed_c10d.py:9 in all_reduce)",
        "rank 1: no sign of life for 39 s; update of step 5 for 100 s (rlvr_model.py:3 in forward)",
    ]
