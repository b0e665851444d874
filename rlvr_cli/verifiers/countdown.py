"""Countdown as TinyZero scores it: an equation that uses each number once and comes to the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.gym import countdown
from rlvr_cli.gym.countdown import Puzzle
from rlvr_cli.verifiers.several_golds import Reads

MISSING = "its row has no `nums` with a whole `target`, and its answer is no equation"


@dataclass(kw_only=True)
class Countdown:
    reads = Reads.no_gold
    name: str = "countdown"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    format_score: float = 0.1
    """Of an answer that is wrong; one that is missing scores 0."""
    last_line: bool = True
    """Only the last line of a response is looked at: a right answer with a line behind it scores 0."""
    strict: bool = False
    """Take only + - * / between the numbers themselves, and not `2**3`, `7//2` or `2.5*4` for 2, 5 and 4."""

    def __post_init__(self) -> None:
        if not 0 <= self.format_score < 1:
            raise ValueError(f"format_score is {self.format_score}; it must be at least 0 and below 1")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        wanted = countdown.puzzle(answer, extra)
        if wanted is None:
            return Verdict(score=0.0, reason=Reason.crash, detail=MISSING)
        return self.judged(response, wanted)

    inline = verify

    def judged(self, response: str, wanted: Puzzle) -> Verdict:
        """The verdict, whose `detail` says what is wrong."""
        found = _answer(response.rpartition("\n")[2] if self.last_line else response)
        if found is None:
            where = "in the last line" if self.last_line else "in it"
            return Verdict(
                score=0.0, reason=Reason.no_answer, detail=f"there is no <answer>...</answer> {where}"
            )
        fault = countdown.fault_of(found, wanted, strict=self.strict)
        return Verdict(
            score=1.0 if fault is None else self.format_score,
            reason=Reason.correct if fault is None else Reason.wrong,
            extracted=found[:300],
            detail=fault or "",
        )

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return MISSING if countdown.puzzle(answer, extra) is None else None

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        solved = self.solved(answer, extra)
        return [] if solved is None else [f"Let me see.\n<answer> {solved} </answer>"]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        """With a format score an answer earns something, whatever is in it."""
        solved = self.solved(answer, extra) or "1"
        wrong = ["", solved] + [f"<answer>{solved}</answer>\nThat is it."] * self.last_line
        if not self.format_score:
            wrong += [f"<answer>{text}</answer>" for text in (f"{solved}+1", f"({solved})*0", "no number")]
        return wrong

    def solved(self, answer: str, extra: dict[str, Any]) -> str | None:
        """An equation that is right: the answer where it is one."""
        wanted = countdown.puzzle(answer, extra)
        if wanted is None:
            return None
        if countdown.fault_of(answer, wanted, strict=self.strict) is None:
            return answer
        return countdown.solution(wanted)


def _answer(text: str) -> str | None:
    """What `<answer>(.*?)</answer>` matches last, in linear time; None: nothing."""
    found, at = None, 0
    while (start := text.find("<answer>", at)) >= 0 and (end := text.find("</answer>", start)) >= 0:
        found, at = text[start + len("<answer>") : end].strip(), end + len("</answer>")
    return found
