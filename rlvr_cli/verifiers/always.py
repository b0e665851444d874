"""Control: every response scores the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads


@dataclass(kw_only=True)
class Always:
    reads = Reads.no_gold
    by_nature = "nothing in particular, and pays everything alike"
    name: str = "always"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    value: float = 1.0
    """The score, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ValueError(f"value is {self.value}; it must be in [0, 1]")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return Verdict(score=self.value, reason=Reason.correct if self.value > 0 else Reason.wrong)

    inline = verify
