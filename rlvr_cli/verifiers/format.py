"""Whether a response has the asked form; says nothing about its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlvr_cli.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Rejected, boxed


@dataclass(kw_only=True)
class Format:
    name: str = "format"
    weight: float = 1.0
    require_box: bool = False
    """The answer (after the reasoning) has a closed `\\boxed{...}`."""
    require_think: bool = False
    """The response begins with one non-empty `<think>...</think>`, and text follows it."""
    pattern: str | None = None
    """Regular expression that the whole response matches; `.` matches newlines too."""
    max_chars: int | None = None
    """Longest response."""

    def __post_init__(self) -> None:
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern is no regular expression: {error}") from error
        if self.max_chars is not None and self.max_chars < 1:
            raise ValueError(f"max_chars is {self.max_chars}; it must be at least 1")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        fault = self._fault(response)
        if fault is None and self.pattern and not re.fullmatch(self.pattern, response, re.DOTALL):
            fault = "the response does not match the pattern"
        if fault is None:
            return Verdict(score=1.0, reason=Reason.correct)
        return Verdict(score=0.0, reason=Reason.malformed, detail=fault)

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        # A pattern may backtrack for hours: that is for a worker with a deadline.
        return None if self.pattern else self.verify(response, answer, extra)

    def _fault(self, response: str) -> str | None:
        """What is wrong, the pattern aside."""
        if self.max_chars is not None and len(response) > self.max_chars:
            return f"longer than {self.max_chars} characters"
        answer = response.rpartition("</think>")[2]
        if self.require_think:
            thought, closed, _ = response.partition("</think>")
            if response.count("<think>") != 1 or response.count("</think>") != 1:
                return "there must be one <think> and one </think>"
            if not thought.lstrip().startswith("<think>") or not closed:
                return "the response must begin with <think>"
            if not thought.lstrip().removeprefix("<think>").strip() or not answer.strip():
                return "the reasoning or the answer is empty"
        if self.require_box:
            try:
                boxed(answer)
            except Rejected as rejected:
                return rejected.verdict.detail
        return None
