"""Multiple choice: the letter of one option (MMLU-Pro, GPQA, ARC)."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Boxes, Extraction, after_reasoning, boxed, extract
from rlvr_cli.verifiers.letters import answer_letter, first_letter, whole_letter
from rlvr_cli.verifiers.rejected import Rejected

LETTERS = "ABCDEFGHIJ"


class Place(Enum):
    """Where the letter stands."""

    answer = "answer"
    """After the last `Answer:` or `answer is`; also inside a box there."""
    boxed = "boxed"
    """In the last `\\boxed{...}`."""
    parentheses = "parentheses"
    """The last capital letter in parentheses: (C)."""
    answer_tags = "answer_tags"
    """The last `<answer>...</answer>` as a whole: B, (b), B., B) its text, or the text of an option."""


_PARENTHESES = re.compile(r"\(([A-J])\)")


@dataclass(kw_only=True)
class Choice:
    name: str = "choice"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Place = Place.answer
    """Where the letter stands: answer, boxed, parentheses or answer_tags."""
    options: str = "options"
    """Column with the list of options, if there is one: bounds the letters, and a gold answer may be the
    text of an option."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        found = None
        try:
            found = self._letter(after_reasoning(response, self.thinking), extra)
            if found not in self._allowed(extra):
                raise Rejected(Reason.malformed, f"there is no option {found}", found)
        except Rejected as rejected:
            return rejected.verdict
        correct = found == self._gold(answer, extra)
        return Verdict(
            score=float(correct), reason=Reason.correct if correct else Reason.wrong, extracted=found
        )

    inline = verify

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        allowed = self._allowed(extra)
        if len(allowed) < 2:
            return f"column '{self.options}' must list 2 to {len(LETTERS)} options"
        if self._gold(answer, extra) not in allowed:
            return f"it is neither a letter from A to {allowed[-1]} nor the text of one option"
        return None

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [self._form(self._gold(answer, extra))]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        gold = self._gold(answer, extra)
        wrong = [letter for letter in self._allowed(extra) if letter != gold]
        return ["", *map(self._form, wrong), f"{self._form(gold)} or {self._form(wrong[0])}"]

    def _form(self, letter: str) -> str:
        forms = {
            Place.answer: f"Answer: {letter}",
            Place.boxed: f"\\boxed{{{letter}}}",
            Place.answer_tags: f"<answer>{letter}</answer>",
        }
        given = forms.get(self.extraction, f"({letter})")
        return f"</think>\n{given}" if self.thinking else given

    def _allowed(self, extra: dict[str, Any]) -> str:
        options = extra.get(self.options)
        count = len(options) if isinstance(options, list) else len(LETTERS)
        return LETTERS[:count] if count <= len(LETTERS) else ""

    def _gold(self, answer: str, extra: dict[str, Any]) -> str:
        """The gold letter; of an option's text, its letter; otherwise nothing that is a letter."""
        text = answer.strip()
        options = extra.get(self.options)
        if isinstance(options, list) and [str(o).strip() for o in options].count(text) == 1:
            return LETTERS[[str(o).strip() for o in options].index(text)]
        return text.strip("().").upper() if len(text) <= 3 else ""

    def _letter(self, text: str, extra: dict[str, Any]) -> str:
        if self.extraction is Place.answer_tags:
            options = extra.get(self.options)
            return whole_letter(
                extract(text, Extraction.answer_tags),
                [str(option) for option in options] if isinstance(options, list) else [],
            )
        if self.extraction is Place.parentheses:
            return _in_parentheses(text)
        if self.extraction is Place.boxed:
            return first_letter(boxed(text, Boxes.refuse_hedging))
        return answer_letter(text)


def _in_parentheses(text: str) -> str:
    last = deque(_PARENTHESES.finditer(text), maxlen=2)
    if not last:
        raise Rejected(Reason.no_answer, "no letter in parentheses")
    if len(last) == 2 and last[0][1] != last[1][1]:
        between = text[last[0].end() : last[1].start()]
        if re.fullmatch(r"\s*(?:,|/|&|;|or|and|,\s*or|,\s*and)?\s*", between):
            raise Rejected(Reason.refused, "several options", f"{last[0].group()}{between}{last[1].group()}")
    return last[-1][1]
