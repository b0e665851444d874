"""VLAA-Thinking's rule rewards (2504.11468): digit, choice, mathematics or a box, by the row's type.

There is no term for the form: an answer that cannot be taken out of `<answer>...</answer>` scores 0. Open
answers are for a reward model (the entry `vlaa_open`), to which `verifiers_by` routes their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.boxes.declared import Declared
from rlvr_cli.verifiers.boxes.doubts import Numbers
from rlvr_cli.verifiers.boxes.overlaps import Means
from rlvr_cli.verifiers.choice import Choice, Place
from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.iou import Iou
from rlvr_cli.verifiers.math import Math

KINDS = ("digit", "choice", "math", "iou")


@dataclass(kw_only=True)
class Vlaa(Declared):
    name: str = "vlaa"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    column: str = "type"
    """Column that says what kind of answer a row has."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Value of that column -> digit, choice, math or iou; empty: the column says so itself."""
    options: str = "options"
    """Of choices: column with the list of options, if there is one."""

    def __post_init__(self) -> None:
        for value, kind in self.kinds.items():
            if kind not in KINDS:
                raise ValueError(f"kinds.{value} is {kind}; it must be one of {', '.join(KINDS)}")
        if self.extraction is not Extraction.answer_tags:
            raise ValueError("extraction must be answer_tags: what stands elsewhere is no answer here")
        tags = Extraction.answer_tags
        # What is wrong with boxes iou says.
        shared = {key: getattr(self, key) for key in Declared.__dataclass_fields__}
        self._judges: dict[str, Any] = {
            "digit": Math(extraction=tags),
            "choice": Choice(extraction=Place.answer_tags, options=self.options),
            "math": Math(extraction=tags),
            "iou": Iou(**shared),
        }

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            found: Verdict = self._judge(extra).verify(response, answer, extra)
            return found
        except ValueError as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        try:
            found: Verdict | None = self._judge(extra).inline(response, answer, extra)
            return found
        except ValueError as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))

    def warm(self) -> None:
        self._judges["math"].warm()

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            fault: str | None = self._judge(extra).check_gold(answer, extra)
        except ValueError as error:
            return str(error)
        return fault

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> Any:
        return self._judge(extra).gold_responses(answer, extra)

    def mutate(self, answer: str, extra: dict[str, Any]) -> Any:
        return self._judge(extra).mutate(answer, extra)

    def gold_numbers(self, row: str, answer: str, extra: Mapping[str, Any]) -> list[Numbers]:
        judge = self._judge_of_boxes(extra)
        return [] if judge is None else judge.gold_numbers(row, answer, extra)

    def overlaps(self, response: str, answer: str, extra: Mapping[str, Any]) -> Means:
        judge = self._judge_of_boxes(extra)
        return {} if judge is None else judge.overlaps(response, answer, extra)

    def _judge_of_boxes(self, extra: Mapping[str, Any]) -> Iou | None:
        """None for rows of other kinds."""
        try:
            judge = self._judge(extra)
        except ValueError:
            return None
        return judge if isinstance(judge, Iou) else None

    def _judge(self, extra: Mapping[str, Any]) -> Any:
        """ValueError where the row has no kind that is known."""
        if self.column not in extra:
            raise ValueError(f"the row has no column '{self.column}' with the kind of its answer")
        said = str(extra[self.column])
        kind = self.kinds.get(said, "") if self.kinds else said
        if kind not in self._judges:
            known = list(self.kinds or KINDS)
            raise ValueError(f"'{self.column}' is {said!r:.60}; it must be one of {', '.join(known)}")
        return self._judges[kind]
