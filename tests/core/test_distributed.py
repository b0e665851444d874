"""Collectives as two ranks see them, and what the watchdog is told meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_helpers import run_entries
from torch import Tensor
from torch.distributed import ReduceOp

from rlvr_cli.core import distributed
from rlvr_cli.core.heartbeat import heart


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Another rank takes part in all collectives with 1 and 5; what this one's heart says within them."""
    found: list[str] = []

    def all_reduce(values: Tensor, op: Any = ReduceOp.SUM, group: Any = None) -> None:
        found.append(heart.read().waits)
        both = torch.stack([values, torch.tensor([1.0, 5.0])])
        values.copy_({ReduceOp.SUM: both.sum(0), ReduceOp.MAX: both.amax(0)}[op])

    def all_gather_object(values: list[Any], value: Any, group: Any) -> None:
        found.append(heart.read().waits)
        values[:] = [[1.0, 5.0], value]

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed.dist, "all_gather_object", all_gather_object)
    monkeypatch.setattr(distributed.dist, "barrier", lambda group: found.append(heart.read().waits))
    return found


@pytest.mark.parametrize(
    ("work", "result", "said"),
    [
        (lambda: distributed.sum_over_ranks(torch.tensor([3.0, 2.0])).tolist(), [4.0, 7.0], "sum"),
        (lambda: distributed.max_over_ranks(torch.tensor([3.0, 2.0])).tolist(), [3.0, 5.0], "maximum"),
        (lambda: distributed.gather([3.0, 2.0]), [[1.0, 5.0], [3.0, 2.0]], "gather"),
        (distributed.barrier, None, "barrier"),
    ],
    ids=["sum", "maximum", "gather", "barrier"],
)
def test_a_rank_waits_within_a_collective_and_no_longer(
    work: Callable[[], Any], result: Any, said: str, heard: list[str]
) -> None:
    assert work() == result
    assert heard == [said] and heart.read().waits == ""


def test_a_collective_that_fails_is_not_waited_for() -> None:
    """A hang after it is this rank's own."""
    with pytest.raises(RuntimeError), heart.waiting("sum"):
        raise RuntimeError
    assert heart.read().waits == ""


def test_one_rank_exchanges_with_itself() -> None:
    mine = ["a"]
    assert distributed.exchange(mine) == ["a"]
    with pytest.raises(ValueError, match="2 objects for 1 ranks"):
        distributed.exchange(["a", "b"])


@pytest.mark.slow
def test_what_two_ranks_send_each_other(tmp_path: Path) -> None:
    """Objects of different sizes arrive at the rank they are for, CPU tensors are reduced where they lie."""
    found = run_entries("exchange_entries.py", 2, tmp_path, tmp_path)["ranks"]
    numbers = [300_000, 600_000]
    for me, one in enumerate(found):
        sums = [(count - 1) * count // 2 for count in numbers]  # rank 1 is not sent the 0
        assert one["received"] == [[me, r, numbers[r] - me, sums[r]] for r in range(2)]
        assert one["own is handed back"] and one["empty"] == [[None, None], ["", ""]][me]
        assert one["sum"] == [1, 14] and one["in place"]
        assert one["maximum"] == [1.5, 2.0]
        # Of 100 s without a sign of life; the groups that libraries make have no limit of their own.
        assert one["patience"] == [260.0, 2060.0] and one["patience of later groups"] == 260.0
