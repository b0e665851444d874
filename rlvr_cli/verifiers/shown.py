"""What of a response a reward model or a judge is shown: the answer, without the thought before it.

RLMT (Bhaskar, Ye and Chen 2025, 2509.20357), `_extract_response` of its code: the first delimiter counts,
what follows it is stripped on the left, and what stands before the end delimiter on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

NULL = "[NULL]"
"""Shown in the place of an answer that is not there, where `strict`: models give it a bad score."""


class Extract(Enum):
    none = "none"
    """The whole response."""
    after_think = "after_think"
    """What follows the first `</think>`."""
    response = "response"
    """What stands between the first `<response>` and the `</response>` after it."""
    delimiters = "delimiters"
    """What stands between `delimiter` and `end_delimiter`."""


TAGS: dict[Extract, tuple[str | None, str | None]] = {
    Extract.none: (None, None),
    Extract.after_think: ("</think>", None),
    Extract.response: ("<response>", "</response>"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it is shown."""

    text: str
    found: bool
    """Its delimiters are there."""
    thought: int
    """Characters before the first delimiter."""


@dataclass(kw_only=True)
class Shown:
    """The part of a response that a verifier with a model reads."""

    extract: Extract = Extract.none
    """What the model is shown of a response."""
    strict: bool = False
    """Where a delimiter is missing `[NULL]` is shown; false: all there is."""
    delimiter: str | None = None
    """Of extract=delimiters: the answer follows its first occurrence."""
    end_delimiter: str | None = None
    """Of extract=delimiters: the answer ends before its next occurrence; null: with the response."""

    def check_extract(self) -> None:
        """ValueError for settings that contradict each other."""
        own = self.extract is Extract.delimiters
        if own and not self.delimiter:
            raise ValueError("extract=delimiters needs delimiter, the text that the answer follows")
        if not own and (self.delimiter is not None or self.end_delimiter is not None):
            raise ValueError(
                f"delimiter and end_delimiter are those of extract=delimiters, and extract is "
                f"{self.extract.value}; leave one out"
            )
        if self.end_delimiter == "":
            raise ValueError("end_delimiter is empty; null is no end delimiter")
        if self.strict and self.extract is Extract.none:
            raise ValueError("strict is about missing delimiters, and extract=none looks for none")

    def answer_in(self, response: str) -> Answer:
        """What is shown of a response."""
        start, end = TAGS.get(self.extract, (self.delimiter, self.end_delimiter))
        if start is None:
            return Answer(response, True, 0)
        thought, there, text = response.partition(start)
        if not there:
            return Answer(NULL if self.strict else response, False, 0)
        text = text.lstrip()
        if end is not None:
            text, there, _ = text.partition(end)
            if there:
                text = text.rstrip()
            elif self.strict:
                return Answer(NULL, False, len(thought))
        return Answer(text, bool(there), len(thought))

    def extract_metrics(self, answer: Answer) -> dict[str, float | str]:
        """`Verdict.more`: metrics of the run; none where whole responses are shown."""
        if self.extract is Extract.none:
            return {}
        return {
            "null_fraction": float(not answer.found),
            "thought_chars": float(answer.thought),
            "answer_chars": 0.0 if answer.text == NULL and not answer.found else float(len(answer.text)),
        }
