"""The place of a rank's process on its machine."""

from __future__ import annotations

import os

import pytest

from rlvr_cli.core.rank_process import library_defaults


@pytest.mark.parametrize(
    ("ranks", "gpus", "threads"),
    [(1, 0, "8"), (2, 0, "4"), (3, 0, "2"), (16, 0, "1"), (2, 2, "4"), (2, 4, "4")],
)
def test_ranks_share_the_cores(ranks: int, gpus: int, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With GPUs or without; of fewer cores than ranks each has one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert library_defaults(ranks, gpus)["OMP_NUM_THREADS"] == threads
