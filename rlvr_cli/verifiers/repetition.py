"""How little of a text is said again: different n-grams of words among all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads


@dataclass(kw_only=True)
class Repetition:
    reads = Reads.no_gold
    by_nature = "not repeating itself, as nobody does who says nothing"
    name: str = "repetition"
    weight: float = 1.0
    """Open-R1's penalty is max_penalty (1 - score), from -max to 0: with this weight, less a constant."""
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    ngram: int = 3
    """Words in a row, separated by white space, whatever their case."""
    correct_from: float = 1.0
    """Score from which the verdict is `correct`."""

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise ValueError(f"ngram is {self.ngram}; it must be at least 1")
        if not 0 < self.correct_from <= 1:
            raise ValueError(f"correct_from is {self.correct_from}; it must be above 0 and at most 1")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        words = response.lower().split()
        total = len(words) - self.ngram + 1
        unique = len({tuple(words[at : at + self.ngram]) for at in range(max(total, 0))})
        score = unique / total if total > 0 else 1.0  # too short to say anything twice
        return Verdict(
            score=score,
            reason=Reason.correct if score >= self.correct_from else Reason.wrong,
            extracted=f"{unique} of {max(total, 0)}",
        )

    inline = verify

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return ["", "one two three four five six seven"]
