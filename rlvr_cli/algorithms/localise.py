"""When a gradient norm is a spike whose tokens are worth a search (GradLoc), after this update or never.

Published by Tencent Hunyuan (2026). A search reads gradients and changes none: training goes on exactly as
without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from rlvr_cli.algorithms.check import require

FACTOR = 4.0
"""With `spike` null: a spike is this many times the median of recent updates."""
RECENT, LEAST = 32, 8
"""Updates that the median is of, and how many it needs."""


@dataclass(kw_only=True)
class Localise:
    """What all options of the gradient axis have: GradLoc, off unless asked for."""

    localise: bool = False
    """When the gradient norm spikes, find the tokens responsible and write them to `gradients.jsonl`."""
    spike: float | None = None
    """Scale of a token's gradient: the mean of n tokens is a spike above spike / sqrt(n). null: 4 times the
    median of the last 32 updates."""
    localise_budget: int = 128
    """Gradients computed at most to halve a spike's micro-batches, besides one for each micro-batch."""

    def __post_init__(self) -> None:
        require(self.spike is None or self.spike > 0, "gradient.spike", self.spike, "positive or null")
        require(self.localise_budget >= 2, "gradient.localise_budget", self.localise_budget, "at least 2")
        self.scales: list[float] = []

    def spiked(self, norm: float, tokens: float, micro_batches: int) -> float | None:
        """Scale to search with, where `norm` is a spike; remembers it.

        norm: of the mean gradient over `tokens` tokens. A given `spike` is held against the norm as
        published, spike / sqrt(tokens) times the micro-batches of a rank.
        """
        scale = norm * math.sqrt(tokens)
        before = list(self.scales)
        if math.isfinite(scale):
            self.scales = [*self.scales, scale][-RECENT:]
        if self.spike is not None:
            return self.spike if norm > self.spike / math.sqrt(tokens) * micro_batches else None
        limit = FACTOR * median(before) if len(before) >= LEAST else math.inf
        return limit if scale > limit else None

    def state(self) -> dict[str, Any]:
        return {"scales": list(self.scales)}

    def load(self, state: dict[str, Any]) -> None:
        self.scales = list(state["scales"])
