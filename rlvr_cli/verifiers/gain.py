"""The gain of a model's score over the gold answer's, and the golds' scores, which are asked for once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp
from typing import Any

KEPT = 100_000
"""Golds whose scores are remembered."""
Scores = tuple[float, float]
Row = tuple[str, dict[str, Any]]


def of_gain(gain: float, beta: float) -> float:
    """VLAA-Thinking's reward of an open answer (2504.11468): 1 - exp(-beta · gain), 0 without a gain."""
    return 1 - exp(-beta * gain) if gain > 0 else 0.0


def key_of(path: str, gold: str, prompt: Any) -> bytes:
    """What a gold's score depends on."""
    text = json.dumps([path, gold, prompt], default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass
class Remembered:
    """Scores of golds by their keys, the oldest first."""

    scores: dict[bytes, Scores] = field(default_factory=dict)

    def of(
        self, rows: dict[bytes, Row], keys: list[bytes], ask: Callable[[list[Row]], list[Scores]]
    ) -> list[Scores]:
        """The scores of `keys`; those that are not known are asked for, each once."""
        new = {key: row for key, row in rows.items() if key not in self.scores}
        self.scores.update(zip(new, ask(list(new.values())), strict=True))
        found = [self.scores[key] for key in keys]
        while len(self.scores) > KEPT:
            del self.scores[next(iter(self.scores))]
        return found
