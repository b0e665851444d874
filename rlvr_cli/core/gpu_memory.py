"""The most a GPU held, less what a sleeping engine has given back.

A sleeping vLLM unmaps its memory, which torch goes on counting as allocated. What is asleep changes only
where the engine falls asleep or wakes: there the peak is read and begun anew, and each belongs to one state.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def asleep() -> int:
    """Bytes that torch counts and the GPU does not hold: pieces of vLLM's own pool that are unmapped.

    Read from vLLM 0.32 (device_allocator/cumem.py): whole pieces, a few MiB more than the tensors in them.
    """
    module = sys.modules.get("vllm.device_allocator.cumem")  # loaded by an engine that can sleep
    allocator = None if module is None else module.CuMemAllocator.instance
    if allocator is None:
        return 0
    return sum(int(data.handle[1]) for data in allocator.pointer_to_data.values() if data.is_asleep)


class PeakMemory:
    """The peak of this rank's GPU since it was last taken; 0 without a GPU."""

    def __init__(self) -> None:
        self._most = 0

    @contextmanager
    def engine_changes(self) -> Iterator[None]:
        """Around whatever lets the rollout engine fall asleep or wake."""
        self._note()
        yield
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def take(self) -> int:
        """Bytes at most since the last call."""
        with self.engine_changes():
            most, self._most = self._most, 0
        return most

    def _note(self) -> None:
        if torch.cuda.is_available():
            self._most = max(self._most, torch.cuda.max_memory_allocated() - asleep())


peak = PeakMemory()
