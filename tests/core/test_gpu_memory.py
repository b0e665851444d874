"""The peak of a GPU whose engine sleeps: torch's counters and vLLM's table of allocations, without a GPU."""

import sys

import pytest
import torch

from rlvr_cli.core.gpu_memory import PeakMemory, asleep

GB = 10**9


class Counters:
    """torch's: what is allocated, sleeping pieces included, and the most of it since the last reset."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)

    def reset(self) -> None:
        self.most = self.now


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> Counters:
    found = Counters()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: found.most)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", found.reset)
    return found


def test_without_a_sleeping_engine_it_is_what_torch_counts(counters: Counters) -> None:
    peak = PeakMemory()
    counters.add(5 * GB)
    counters.add(-3 * GB)
    assert peak.take() == 5 * GB
    assert peak.take() == 2 * GB


def test_no_engine_sleeps_where_vllm_has_not_been_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm.device_allocator.cumem", raising=False)
    assert asleep() == 0


@pytest.mark.slow
def test_what_sleeps_is_not_counted(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    """14 GB of weights and 32 of cache sleep while the trainer, with 10, takes 30 more; then weights wake.

    With vLLM's own table and class: torch counts 86 GB, the GPU held 56 at most.
    """
    from vllm.device_allocator import AllocationData
    from vllm.device_allocator.cumem import CuMemAllocator

    allocator = CuMemAllocator()
    monkeypatch.setattr(CuMemAllocator, "instance", allocator)
    for pointer, size, tag in ((1, 14 * GB, "weights"), (2, 32 * GB, "kv_cache")):
        allocator.pointer_to_data[pointer] = AllocationData((0, size, pointer, 0), tag)
    pieces = allocator.pointer_to_data.values()

    peak = PeakMemory()
    counters.add((10 + 14 + 32) * GB)
    with peak.engine_changes():
        for piece in pieces:
            piece.is_asleep = True
    assert asleep() == 46 * GB
    counters.add(30 * GB)
    counters.add(-30 * GB)
    with peak.engine_changes():
        for piece in pieces:
            piece.is_asleep = piece.tag == "kv_cache"
    assert asleep() == 32 * GB
    counters.add(2 * GB)
    assert counters.most == 58 * GB
    assert peak.take() == 56 * GB  # while it sampled
    assert peak.take() == 26 * GB  # since then: trainer, weights, a buffer
