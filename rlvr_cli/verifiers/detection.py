"""Several boxes with labels, scored as V-Triune does (2505.18129): IoU, completeness, mAP, size penalty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.boxes.declared import Declared
from rlvr_cli.verifiers.boxes.detection import NONE, Weights, detected
from rlvr_cli.verifiers.boxes.drawn import drawing
from rlvr_cli.verifiers.boxes.matching import Labelled
from rlvr_cli.verifiers.boxes.reader import Form
from rlvr_cli.verifiers.boxes.thresholds import Thresholds
from rlvr_cli.verifiers.boxes.units import NoSize
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.rejected import Rejected

PARTS = ("iou_first", "label_first", "map", "map50", "map75")


@dataclass(kw_only=True)
class Detection(Declared, Thresholds):
    name: str = "detection"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    iou_first: float = 0.0
    """Share of matched IoU where pairs are taken by falling IoU and other labels are used up for nothing."""
    label_first: float = 1.0
    """Share of matched IoU where only pairs of one label are taken, gold box by gold box."""
    map: float = 0.0
    """Share of COCO's mAP, every confidence 1: the order of the list is the ranking."""
    map50: float = 0.0
    """Share of the average precision at IoU 0.5."""
    map75: float = 0.0
    """Share of the average precision at IoU 0.75."""
    completeness: float = 0.3
    """Weight of completeness in the two of matched IoU, beside the mean IoU: 1 less the mean of the shares
    missed and falsely given."""
    size_penalty: float = 0.6
    """The score is multiplied by it once for every box more or fewer than the gold has; 1: no penalty."""
    most: int = 500
    """Answers with more boxes are refused."""
    correct_from: float = 0.5
    """Score from which a response counts as correct."""

    def __post_init__(self) -> None:
        self.check_declared()
        self.check_thresholds()
        for key in (*PARTS, "completeness", "size_penalty", "correct_from"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be in [0, 1]")
        if not any(getattr(self, key) for key in PARTS):
            raise ValueError(
                f"{', '.join(PARTS)} are all 0; one of them must be above it, or no box earns anything"
            )
        if self.form is Form.molmo:
            raise ValueError("form=molmo has points and no boxes")
        if self.most < 1:
            raise ValueError(f"most is {self.most}; it must be at least 1")

    @drawing
    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            gold = self.gold_boxes(answer, extra)
            text = self.answer_text(response)
            found = list(dict.fromkeys(self.said(text, extra, self.most)))
        except (ValueError, NoSize) as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))
        except Rejected as rejected:
            return replace(rejected.verdict, more=dict(NONE))
        if not gold or not found:
            return self._of_nothing(gold, found, text)
        thresholds = self.counted_from(extra)
        weights = Weights(*(getattr(self, key) for key in (*PARTS, "completeness")))
        result = detected(found, gold, thresholds, weights, self.size_penalty)
        return Verdict(
            score=result.score,
            reason=Reason.correct if result.score >= self.correct_from else Reason.wrong,
            extracted=text[:300],
            detail=f"{len(found)} boxes for {len(gold)}",
            more={**result.measures, **self.outside(found, extra), **self.stage(thresholds)},
        )

    def _of_nothing(self, gold: list[Labelled], found: list[Labelled], text: str) -> Verdict:
        """Nothing is to be found, or nothing was."""
        if not gold:
            right = not found
            return Verdict(
                score=float(right),
                reason=Reason.correct if right else Reason.wrong,
                extracted=text[:300],
                detail=f"{len(found)} boxes for none",
            )
        return Verdict(
            score=0.0, reason=Reason.no_answer, extracted=text[:300], detail="no box", more=dict(NONE)
        )

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            for x1, y1, x2, y2 in (each.box for each in self.gold_boxes(answer, extra)):
                if not (x1 < x2 and y1 < y2):
                    return f"the gold {x1:g} {y1:g} {x2:g} {y2:g} has no area; is gold_order right?"
        except ValueError as error:
            return str(error)
        return self.size_fault(extra)

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        gold = list(dict.fromkeys(self.gold_boxes(answer, extra)))
        if self.form in (Form.loc, Form.numbers) or (not gold and self.form is not Form.json):
            return []  # whole bins say a box only nearly, and numbers no label
        return [wrapped(self.written([(g.box, g.label) for g in gold], extra), self.extraction)]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        gold = [(each.box, each.label) for each in self.gold_boxes(answer, extra)]
        wrong = ["no box"]
        if gold:
            right = max(max(box) for box, _ in gold) + 1
            away = [((right + a, b, right + c, d), label) for (a, b, c, d), label in gold]
            wrong += [self.written(away, extra), "[]"]
        return ["", *(wrapped(text, self.extraction) for text in wrong)]
