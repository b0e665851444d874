"""Whether a response has the asked form; says nothing about its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Rejected, boxed
from rlvr_cli.verifiers.several_golds import Reads


@dataclass(kw_only=True)
class Format:
    reads = Reads.no_gold
    by_nature = "a form"
    name: str = "format"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    require_box: bool = False
    """The answer (after the reasoning) has a closed `\\boxed{...}`."""
    filled: bool = False
    """That box, with `require_box`, holds something."""
    require_think: bool = False
    """The response begins with one non-empty `<think>...</think>`, and text follows it."""
    tags: list[str] = field(default_factory=list)
    """The response is `<a>...</a><b>...</b>` for the tags a, b: each once, in this order, none empty, and
    only white space around them."""
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
        for tag in self.tags:
            if not re.fullmatch(r"[A-Za-z][\w-]*", tag) or self.tags.count(tag) > 1:
                raise ValueError(f"tags has '{tag}'; tags are names like think, each given once")
        if self.tags and self.require_think and self.tags[0] != "think":
            raise ValueError("tags leaves no place for the <think> of require_think; begin tags with think")
        if self.filled and not self.require_box:
            raise ValueError("filled says something of the box of require_box; set both")
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

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        if self.pattern is not None:  # what matches a pattern is not made from it
            return []
        thought = "<think>Step by step.</think>\n" if self.require_think else ""
        body = "\\boxed{1}" if self.require_box else "1"
        return ["".join(f"<{tag}>{body}</{tag}>" for tag in self.tags) or thought + body]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        wrong = ["1", "\\boxed{1"] if self.require_box else []
        wrong += ["\\boxed{ }"] if self.filled else []
        if self.require_think:
            wrong += ["\\boxed{1}", "<think>Step by step.\n\\boxed{1}", "<think></think>\\boxed{1}"]
        if self.tags:
            wrong += ["1", *(f"<{tag}>\\boxed{{1}}" for tag in self.tags)]
        if self.max_chars is not None:
            wrong.append("\\boxed{1}" * self.max_chars)
        return wrong

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
        if self.tags and (fault := tag_fault(response, self.tags)):
            return fault
        if self.require_box:
            try:
                found = boxed(answer)
            except Rejected as rejected:
                return rejected.verdict.detail
            if self.filled and not found.strip():
                return "the box is empty"
        return None


def tag_fault(response: str, tags: list[str]) -> str | None:
    """Why the response is not these elements one after the other. No regex: linear in any text."""
    rest = response
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if response.count(opening) != 1 or response.count(closing) != 1:
            return f"there must be one {opening} and one {closing}"
        before, _, rest = rest.partition(opening)
        content, closed, rest = rest.partition(closing)
        if before.strip():
            return f"there is text before {opening}"
        if not closed:
            return f"{opening} is in the wrong place"
        if not content.strip():
            return f"{opening} is empty"
    return f"there is text after </{tags[-1]}>" if rest.strip() else None
