"""Threads that take themselves for ranks of one group: what ranks do together, without starting any."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from threading import Barrier, local
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from rlvr_cli.core import distributed

T = TypeVar("T")
PATIENCE_S = 20


def on_ranks(patch: pytest.MonkeyPatch, count: int, work: Callable[[int], T]) -> list[T]:
    """What `work(rank)` returns on each rank. The collectives of `distributed` work among the threads.

    The gradients that autograd adds up belong to a thread's own tensors; random generators are shared.
    """
    me, barrier, board = local(), Barrier(count), [None] * count

    def gather(value: Any) -> list[Any]:
        board[me.rank] = value
        barrier.wait(PATIENCE_S)
        values = [x if isinstance(x, Tensor) else deepcopy(x) for x in board]  # ranks share no objects
        barrier.wait(PATIENCE_S)
        return values

    def exchange(objects: list[Any]) -> list[Any]:
        return [from_one[me.rank] for from_one in gather(objects)]

    def together(values: Tensor) -> Tensor:
        return torch.stack(gather(values.clone()))

    def one(rank: int) -> T:
        me.rank = rank
        try:
            return work(rank)
        except BaseException:
            barrier.abort()  # or the others would wait for it
            raise

    with patch.context() as patched, ThreadPoolExecutor(count) as threads:
        patched.setattr(distributed, "rank", lambda: me.rank)
        patched.setattr(distributed, "world_size", lambda: count)
        patched.setattr(distributed, "gather", gather)
        patched.setattr(distributed, "exchange", exchange)
        patched.setattr(distributed, "sum_over_ranks", lambda values: together(values).sum(0))
        patched.setattr(distributed, "max_over_ranks", lambda values: together(values).amax(0))
        patched.setattr(distributed, "barrier", lambda: gather(None))
        return list(threads.map(one, range(count)))
