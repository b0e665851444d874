"""One box: the reward is its overlap with the gold's (grounding, referring expressions)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.boxes.declared import Declared
from rlvr_cli.verifiers.boxes.drawn import drawing
from rlvr_cli.verifiers.boxes.geometry import Box, giou, iou
from rlvr_cli.verifiers.boxes.reader import Form
from rlvr_cli.verifiers.boxes.thresholds import Count, Thresholds
from rlvr_cli.verifiers.boxes.units import NoSize
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.rejected import Rejected


class Earns(Enum):
    """What a box that counts scores."""

    iou = "iou"
    """Its IoU."""
    one = "one"
    """1."""
    giou = "giou"
    """(GIoU + 1) / 2, with count=soft: boxes apart earn more the nearer they are."""


@dataclass(kw_only=True)
class Iou(Declared, Thresholds):
    name: str = "iou"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    count: Count = Count.soft
    """From which IoU the box counts: soft (any), fixed, average (over `averaged`), dynamic (by progress)."""
    earns: Earns = Earns.iou
    """What a box that counts scores: iou (its IoU), one, or giou."""
    correct_from: float = 0.5
    """IoU from which a response counts as correct."""

    def __post_init__(self) -> None:
        self.check_declared()
        self.check_thresholds()
        if self.form is Form.molmo:
            raise ValueError("form=molmo has points and no boxes")
        if self.earns is Earns.giou and self.count is not Count.soft:
            raise ValueError(
                f"earns=giou rewards boxes that do not overlap; set count=soft, not {self.count.value}"
            )
        if self.earns is Earns.one and self.count is Count.soft:
            raise ValueError(
                "earns=one scores every box 1 with count=soft; set count=fixed, average or dynamic"
            )
        if not 0 < self.correct_from <= 1:
            raise ValueError(f"correct_from is {self.correct_from}; an IoU is above 0, at most 1")

    @drawing
    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            gold = self._gold(answer, extra)
            text = self.answer_text(response)
            found = self.said(text, extra, 1)
        except (ValueError, NoSize) as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))
        except Rejected as rejected:
            return replace(rejected.verdict, more={"iou": 0.0})
        if not found:
            return Verdict(score=0.0, reason=Reason.no_answer, detail="no box", more={"iou": 0.0})
        overlap, thresholds = iou(found[0].box, gold), self.counted_from(extra)
        return Verdict(
            score=self._score(found[0].box, gold, overlap, thresholds),
            reason=Reason.correct if overlap >= self.correct_from else Reason.wrong,
            extracted=text[:300],
            detail=f"IoU {overlap:.4f}",
            more={"iou": overlap} | self.outside(found, extra) | self.stage(thresholds),
        )

    inline = verify

    def _score(self, box: Box, gold: Box, overlap: float, thresholds: list[float]) -> float:
        if self.earns is Earns.giou:
            return (giou(box, gold) + 1) / 2
        share = sum(overlap >= threshold for threshold in thresholds) / len(thresholds)
        return share * (1.0 if self.earns is Earns.one else overlap)

    def _gold(self, answer: str, extra: dict[str, Any]) -> Box:
        found = self.gold_boxes(answer, extra)
        if len(found) != 1:
            raise ValueError(f"the gold has {len(found)} boxes; there must be one (detection takes several)")
        x1, y1, x2, y2 = found[0].box
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f"the gold {x1:g} {y1:g} {x2:g} {y2:g} has no area; is gold_order right?")
        return found[0].box

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            self._gold(answer, extra)
        except ValueError as error:
            return str(error)
        return self.size_fault(extra)

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        if self.form is Form.loc:  # whole bins say a box only nearly
            return []
        return [wrapped(self.written([(self._gold(answer, extra), "")], extra), self.extraction)]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        if self.earns is Earns.giou:  # every box earns something
            return [""]
        x1, y1, x2, y2 = self._gold(answer, extra)
        away = (x2 + 1, y2 + 1, 2 * x2 - x1 + 1, 2 * y2 - y1 + 1)
        right = self.written([((x1, y1, x2, y2), "")], extra)
        wrong = [
            self.written([(away, "")], extra),
            self.written([((x2, y2, x1, y1), "")], extra),
            "x" + right,
            "no box",
        ]
        return ["", *(wrapped(text, self.extraction) for text in wrong)]
