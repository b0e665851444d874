"""What a verifier says of a response."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Reason(Enum):
    """Why a verdict is what it is. timeout and crash mean that there is no verdict: the response has not
    caused them. What it does cause by its size or its time is `refused` and scores 0. no_say means that the
    verifier leaves the sample to the others."""

    correct = "correct"
    wrong = "wrong"
    no_answer = "no_answer"
    malformed = "malformed"
    refused = "refused"
    timeout = "timeout"
    crash = "crash"
    no_say = "no_say"


@dataclass(slots=True, kw_only=True)
class Verdict:
    score: float
    """In [0, 1], or where `raw` any number; meaningless when the reason is timeout, crash or no_say."""
    reason: Reason
    extracted: str | None = None
    """What was taken to be the answer."""
    detail: str = ""
    ms: float = 0.0
    measures: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Name -> (points, of how many): what a bench reports besides the score, e.g. instructions followed."""
    disputed: bool = False
    """Two ways of comparing disagree on it; it counts as `wrong`, and is written to `disputed.jsonl`."""
    raw: bool = False
    """The score is a user's own value, on a scale of its own: a reward as it is, not mapped by shaping."""
    judged: float | None = None
    """What says how right the response is, where that is not the score (verl's `acc`)."""
    more: dict[str, float | str] = field(default_factory=dict)
    """What else a user's function returned: numbers are metrics, text goes into the records."""

    @property
    def scored(self) -> bool:
        return not self.missing and self.reason is not Reason.no_say

    @property
    def missing(self) -> bool:
        """There should be a verdict, and is none."""
        return self.reason in (Reason.timeout, Reason.crash)
