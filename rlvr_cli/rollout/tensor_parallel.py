"""Ranks that run one vLLM engine together, each with a part of the model.

vLLM calls it `external_launcher`: every rank has a scheduler of its own, and all of them must come to the
same decisions. So they take the same requests in the same order with the same seeds, and end at the same
engine step.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from rlvr_cli.core import distributed
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.rollout.engine import SyncError
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.shards import incomplete

T = TypeVar("T")
SHARED = Path("/dev/shm")


class Ranks:
    """The ranks of this rank's engine: `size` neighbours, the first of which leads.

    Made once vLLM has its groups: theirs is used here, which has the same ranks and carries CPU tensors.
    """

    def __init__(self, size: int) -> None:
        number, place = divmod(distributed.rank(), size)
        self.size = size
        self.share = number, distributed.world_size() // size
        self.leader = place == 0
        self._sampled = 0
        self._group: dist.ProcessGroup | None = None
        if size > 1:
            from vllm.distributed.parallel_state import get_tp_group

            self._group = get_tp_group().cpu_group

    def forget_names(self) -> None:
        """Take away the names of the memory that vLLM's ranks share on CPUs, once all of them have it.

        They are the same for every run on a machine: those of a run that was killed would stay, and vLLM
        refuses to start where one is there.
        """
        if self._group is not None and not torch.cuda.is_available():
            dist.barrier(group=self._group)
            for path in SHARED.glob("*-tp:*-cpushm_*"):
                path.unlink(missing_ok=True)

    def shared(self, value: T) -> T:
        """The leader's value, on all of them; all must call it."""
        if self._group is None:
            return value
        box: list[Any] = [value]
        with heart.waiting("engine"):
            dist.broadcast_object_list(box, group_src=0, group=self._group)
        return box[0]

    def demand_whole(self, receipt: Receipt) -> None:
        """SyncError where they have not taken all of what was sent, between them; all must call it."""
        if self._group is None:
            return
        of_ranks: list[Any] = [None] * self.size
        with heart.waiting("engine"):
            dist.all_gather_object(of_ranks, receipt.taken, group=self._group)
        if names := incomplete(of_ranks):
            raise SyncError(
                f"weight sync: the {self.size} ranks that run one engine do not hold all of {names[0]} "
                f"between them ({len(names)} such tensors)"
            )

    def agreed(self, answer: bool) -> bool:
        """Whether any of them says yes; all must call it, between the same two engine steps.

        SyncError where they have not sampled the same since the last time: the next step would never end.
        """
        if self._group is None:
            return answer
        found = torch.tensor([int(answer), self._sampled, -self._sampled])
        with heart.waiting("engine"):
            dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self._group)
        yes, most, least = found.tolist()
        if most != -least:
            raise SyncError(
                f"the {self.size} ranks that run one engine (rollout.tensor_parallel) have not sampled the "
                "same, or have read other images: their parts of the model belong to different tokens"
            )
        return bool(yes)

    def note(self, numbers: np.ndarray) -> None:
        """A sample that this rank's scheduler has finished, or an image it was given, for `agreed` to
        compare."""
        self._sampled = zlib.crc32(numbers.tobytes(), self._sampled)

    def asking(self, enough: Callable[[], bool]) -> Callable[[], bool]:
        """The question as all of them answer it."""
        return enough if self._group is None else lambda: self.agreed(enough())
