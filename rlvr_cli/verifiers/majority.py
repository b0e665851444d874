"""The answer that most samples of a problem give counts as right, as in TTRL (2504.16084)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Extraction, Rejected, extract
from rlvr_cli.verifiers.mathematics.ballot import ballot
from rlvr_cli.verifiers.mathematics.guard import refuse
from rlvr_cli.verifiers.several_golds import Reads


@dataclass(kw_only=True)
class Majority:
    reads = Reads.no_gold
    by_nature = "what most samples say"
    name: str = "majority"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction = Extraction.boxed
    """Where the answer stands, as in `math`."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""
    max_chars: int = 300
    """Longer answers are refused."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_chars <= 4000:  # Python reads no integer of more than 4300 digits
            raise ValueError(f"max_chars is {self.max_chars}; it must be from 1 to 4000")

    def verify_group(self, responses: list[str], answer: str, extra: dict[str, Any]) -> list[Verdict]:
        """Score 1 for the responses that give the most frequent answer; of several, the one given first.

        Responses without an answer have no vote and score 0. The gold answer is not looked at.
        """
        ballots = [self._ballot(response) for response in responses]
        votes = Counter(vote[0] for vote in ballots if not isinstance(vote, Verdict))
        # Counter keeps the order of first occurrence, and max takes the first of equals.
        winner = max(votes, key=lambda value: votes[value], default=None)
        verdicts = []
        for vote in ballots:
            if isinstance(vote, Verdict):
                verdicts.append(vote)
                continue
            value, written = vote
            reason = Reason.correct if value == winner else Reason.wrong
            detail = f"{votes[value]} of {len(responses)} votes"
            verdict = Verdict(score=float(value == winner), reason=reason, extracted=written, detail=detail)
            verdicts.append(verdict)
        return verdicts

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        """A vote of one: any answer wins."""
        return self.verify_group([response], answer, extra)[0]

    inline = verify

    def _ballot(self, response: str) -> tuple[Hashable, str] | Verdict:
        """What the response says, equal for equal numbers and words, and how it is written."""
        try:
            found = extract(response, self.extraction, self.thinking)
            if len(found) > self.max_chars:
                raise Rejected(Reason.refused, f"the answer is longer than {self.max_chars} characters")
            refuse(found, "")
            return ballot(found), found
        except Rejected as rejected:
            return rejected.verdict
