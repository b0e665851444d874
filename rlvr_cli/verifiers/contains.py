"""Whether a text stands in the response: Spurious Rewards' `python` (2506.10947), and how often it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads


@dataclass(kw_only=True)
class Contains:
    reads = Reads.no_gold
    by_nature = "a text that stands in the response"
    name: str = "contains"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing: and."""
    text: str = "python"
    """What is looked for, whatever its case."""
    absent: bool = False
    """Score 1 where it is not there: not."""

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("text is empty, and would be in every response")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        found = self.text.lower() in response.lower()
        hit = found is not self.absent
        return Verdict(
            score=float(hit),
            reason=Reason.correct if hit else Reason.wrong,
            extracted="it is there" if found else "it is not there",
        )

    inline = verify

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [""] if self.absent else [f"In {self.text}:"]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [f"In {self.text.upper()}:"] if self.absent else [""]
