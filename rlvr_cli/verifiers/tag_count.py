"""How many of the tags of a form are there, each once: Open-R1's tag_count, a step towards the whole form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads

OPEN_R1 = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")


@dataclass(kw_only=True)
class TagCount:
    reads = Reads.no_gold
    by_nature = "tags"
    name: str = "tag_count"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    strings: list[str] = field(default_factory=lambda: list(OPEN_R1))
    """What is counted; each that the response has exactly once gives an equal share."""

    def __post_init__(self) -> None:
        if not self.strings or not all(self.strings) or len(set(self.strings)) < len(self.strings):
            raise ValueError(f"strings is {self.strings}; it must name different texts, none of them empty")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        once = [text for text in self.strings if response.count(text) == 1]
        whole = len(once) == len(self.strings)
        missing = ", ".join(repr(text) for text in self.strings if text not in once)
        return Verdict(
            score=len(once) / len(self.strings),
            reason=Reason.correct if whole else Reason.malformed,
            detail="" if whole else f"not there exactly once: {missing}",
        )

    inline = verify

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        text = "1".join(self.strings)
        return [text] if all(text.count(each) == 1 for each in self.strings) else []

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return ["", "".join(self.strings * 2)]
