"""Whether reasoning goes in steps that can be seen: Open-R1's reasoning_steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads

MARKERS = re.compile(r"Step \d+:|^\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,")
"""Open-R1's: numbered steps, a number at the very beginning, bullets, and words of order."""


@dataclass(kw_only=True)
class ReasoningSteps:
    reads = Reads.no_gold
    by_nature = "words that begin steps"
    name: str = "reasoning_steps"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    enough: int = 3
    """Markers that earn all; fewer earn their share."""

    def __post_init__(self) -> None:
        if self.enough < 1:
            raise ValueError(f"enough is {self.enough}; it must be at least 1")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        found = sum(1 for _ in MARKERS.finditer(response))
        return Verdict(
            score=min(1.0, found / self.enough),
            reason=Reason.correct if found >= self.enough else Reason.wrong,
            extracted=f"{found} steps",
        )

    inline = verify

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return ["".join(f"Step {n + 1}: so.\n" for n in range(self.enough))]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return ["", "It is 5.", "first, second, finally"]
