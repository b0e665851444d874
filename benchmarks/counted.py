"""What this rank sends and waits for, counted where `core/distributed.py` calls torch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from rlvr_cli.core import distributed

KINDS = ("gather", "exchange", "sum_over_ranks")


class Traffic:
    """What this rank sends and waits for, by the collective of `core/distributed.py` that it enters."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        """Bytes."""
        self.cpu: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()
        self._kind = ""
        for kind in (*KINDS, "max_over_ranks"):
            setattr(distributed, kind, self._timed(kind, getattr(distributed, kind)))
        # gather pickles and calls the first; the group passes each block on (ring), hence N - 1 of them.
        c10d.all_gather = self._counted(c10d.all_gather, lambda out, own, *_: (len(out) - 1) * own.nbytes)
        dist.all_reduce = self._counted(dist.all_reduce, lambda x, *_: 2 * x.nbytes * others())
        dist.all_to_all_single = self._counted(dist.all_to_all_single, outgoing)

    def _timed(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            outer, self._kind = self._kind, kind
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                return call(*args)
            finally:
                self.cpu[kind] += time.process_time() - cpu
                self.wall[kind] += time.perf_counter() - wall
                self._kind = outer

        return timed

    def _counted(self, call: Callable[..., Any], size: Callable[..., float]) -> Callable[..., Any]:
        def counted(*args: Any, **given: Any) -> Any:
            self.sent[self._kind] += round(size(*args))
            return call(*args, **given)

        return counted

    def take(self) -> dict[str, dict[str, float]]:
        """Since the last call."""
        found = {name: dict(getattr(self, name)) for name in ("sent", "cpu", "wall")}
        for counter in (self.sent, self.cpu, self.wall):
            counter.clear()
        return found


def others() -> float:
    return 1 - 1 / distributed.world_size()


def outgoing(_: Any, sent: torch.Tensor, __: Any = None, splits: list[int] | None = None) -> float:
    """Bytes of an all-to-all that leave this rank."""
    own = sent.nbytes / distributed.world_size() if splits is None else splits[distributed.rank()]
    return sent.nbytes - own
