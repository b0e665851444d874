"""The place of a rank's process on its machine."""

from __future__ import annotations

import os

import pytest

from rlvr_cli.core.rank_process import ALLOCATOR, library_defaults


@pytest.mark.parametrize(
    ("ranks", "gpus", "threads"),
    [(1, 0, "8"), (2, 0, "4"), (3, 0, "2"), (16, 0, "1"), (2, 2, "4"), (2, 4, "4")],
)
def test_ranks_share_the_cores(ranks: int, gpus: int, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With GPUs or without; of fewer cores than ranks each has one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert library_defaults(ranks, gpus)["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize(
    ("set_by", "ranks", "threads"),
    [
        ({"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "1"}, 4, "2"),
        ({"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "1"}, 1, None),  # torchrun sets nothing then
        ({"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "3"}, 4, None),
        ({"OMP_NUM_THREADS": "1"}, 4, None),
    ],
)
def test_the_threads_that_torchrun_sets_are_not_the_users(
    set_by: dict[str, str], ranks: int, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for name, value in set_by.items():
        monkeypatch.setenv(name, value)
    assert library_defaults(ranks, 8).get("OMP_NUM_THREADS") == threads


def test_memory_on_gpus_grows_in_segments_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    assert library_defaults(1, 1)["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert "PYTORCH_ALLOC_CONF" not in library_defaults(1, 0)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512")  # ours would win over it
    assert "PYTORCH_ALLOC_CONF" not in library_defaults(1, 1)
