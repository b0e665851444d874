"""Lines of the memory table, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

PHASES = ("rollout", "scoring", "update", "optimizer", "sync", "checkpoint")


@dataclass(frozen=True)
class Item:
    """One line of the table."""

    name: str
    phases: dict[str, float]
    """Phase -> bytes; a phase that is not there needs none."""
    host: bool = False
    """In the host's memory, although the rank computes on a GPU."""
    outside: bool = False
    """On the GPU, but not from torch's allocator, hence not in `perf/peak_memory_gb`."""


@dataclass(frozen=True)
class Memory:
    """All lines, and what follows from them."""

    items: list[Item]
    limit: float
    """Bytes a rank may use of its device."""
    host_limit: float | None
    """Bytes all ranks together may use of the host; None: unknown machine."""
    ranks: int
    cache_tokens: float | None = None
    """Tokens that fit into the engine's KV cache."""
    problems: list[str] = field(default_factory=list)
    """What cannot work at all, apart from the peak."""

    def total(self, phase: str, *, host: bool = False) -> float:
        return sum(item.phases.get(phase, 0.0) for item in self.items if item.host == host)

    @property
    def peak_phase(self) -> str:
        return max(PHASES, key=self.total)

    @property
    def peak(self) -> float:
        return self.total(self.peak_phase)

    @property
    def allocated(self) -> float:
        """The peak of what torch's allocator hands out."""
        outside = [item for item in self.items if item.outside]
        return max(self.total(p) - sum(item.phases.get(p, 0.0) for item in outside) for p in PHASES)

    @property
    def host_peak(self) -> float:
        return max(self.total(phase, host=True) for phase in PHASES)

    @property
    def fits(self) -> bool:
        host = self.host_limit is None or self.host_peak * self.ranks <= self.host_limit
        return self.peak <= self.limit and host and not self.problems


def during(phases: Iterable[str], size: float) -> dict[str, float]:
    return dict.fromkeys(phases, size)


def always(name: str, size: float, *, host: bool = False, outside: bool = False) -> Item:
    return Item(name, during(PHASES, size), host, outside)
