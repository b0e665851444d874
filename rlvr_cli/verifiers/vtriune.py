"""V-Triune's rewards (2505.18129): every row names its verifier, that one's parameters and its weights.

final = accuracy · a / (a + f) + format · f / (a + f), with the row's `accuracy_ratio` a and `format_ratio` f.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from sys import float_info
from typing import Any, NamedTuple

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.boxes.declared import Seen
from rlvr_cli.verifiers.boxes.detection import NONE, Weights, detected
from rlvr_cli.verifiers.boxes.doubts import Numbers, System
from rlvr_cli.verifiers.boxes.drawn import drawing, written
from rlvr_cli.verifiers.boxes.matching import Labelled
from rlvr_cli.verifiers.boxes.published import NORMAL, boxes_in, element, four_tags, normalised, one_element
from rlvr_cli.verifiers.boxes.thresholds import Count, Thresholds
from rlvr_cli.verifiers.boxes.units import Order, Unit
from rlvr_cli.verifiers.by_row import row_verifier, without_nulls
from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.mathematics.rules import LetterCase

ACCURACY_RATIO, FORMAT_RATIO = 1.0, 0.1
"""Of rows without."""
MATH, DETECTION = "mathverify", "detection"
PARTS = {
    "iou_first": "iou_max_iou_first",
    "label_first": "iou_max_label_first",
    "map": "map",
    "map50": "map50",
    "map75": "map75",
    "completeness": "iou_completeness",
}
"""Our name of a weight -> V-Triune's, in `det_reward_ratio`."""
EARNING = [name for name in PARTS if name != "completeness"]
SIZE_PENALTY = 0.6
MOST = 500
"""Boxes; answers with more are refused."""


class Asked(NamedTuple):
    """What a row asks for."""

    verifier: str
    options: dict[str, Any]
    accuracy_ratio: float
    format_ratio: float


@dataclass(kw_only=True)
class Vtriune(Seen, Thresholds):
    name: str = "vtriune"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    column: str = "reward_model"
    """Column with {verifier, verifier_parm, accuracy_ratio, format_ratio} of a row."""
    boxes: Unit = Unit.seen
    """Of detections whose gold is normalised (`det_verifier_normalized`): what the policy writes, seen or
    per_mille."""
    count: Count = Count.dynamic
    """From which IoU a box counts: dynamic (by progress), average (over `averaged`), fixed, soft (any)."""
    correct_from: float = 0.5
    """Accuracy from which a response counts as correct."""
    published: bool = False
    """Detections as the public code scores them, its slips included; false: as the method is described."""

    def __post_init__(self) -> None:
        self.check_sizes()
        self.check_thresholds()
        if self.boxes not in (Unit.seen, Unit.per_mille):
            raise ValueError(f"boxes is {self.boxes.value}; V-Triune's are seen (pixels) or per_mille")
        if not 0 < self.correct_from <= 1:
            raise ValueError(f"correct_from is {self.correct_from}; it must be above 0 and at most 1")
        self._math = Math(extraction=Extraction.boxed, letter_case=LetterCase.none)

    @drawing
    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            asked = self.asked(extra)
            return self.judged(response, answer, extra, asked)
        except ValueError as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        """What a worker need not be asked: mathematics that is plain."""
        try:
            asked = self.asked(extra)
        except ValueError as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))
        if asked.verifier != MATH:
            return None
        found = self._math.inline(_answer_in(response), _answer_in(answer), extra)
        return None if found is None else _mixed(found, four_tags(response), asked, 1.0)

    def warm(self) -> None:
        self._math.warm()

    def judged(self, response: str, answer: str, extra: Mapping[str, Any], asked: Asked) -> Verdict:
        """ValueError where the row's options are wrong."""
        if asked.verifier == DETECTION:
            found, form = self._detection(response, answer, extra, asked.options)
            return _mixed(found, form, asked, self.correct_from)
        if asked.verifier == MATH:
            found = self._math.verify(_answer_in(response), _answer_in(answer), dict(extra))
            return _mixed(found, four_tags(response), asked, 1.0)
        other = row_verifier(asked.verifier, asked.options)
        return _mixed(
            other.verify(response, answer, dict(extra)), four_tags(response), asked, self.correct_from
        )

    def asked(self, extra: Mapping[str, Any]) -> Asked:
        """What the row asks for. ValueError that says what is wrong with it."""
        row = extra.get(self.column)
        if not isinstance(row, Mapping) or not isinstance(row.get("verifier"), str):
            raise ValueError(f"the row has no column '{self.column}' with a `verifier`")
        ratios = []
        for key, default in (("accuracy_ratio", ACCURACY_RATIO), ("format_ratio", FORMAT_RATIO)):
            value = default if row.get(key) is None else row[key]
            if not isinstance(value, int | float) or not 0 <= value <= float_info.max:
                raise ValueError(
                    f"'{self.column}' has the {key} {value!r:.60}; it must be a number from 0 on"
                )
            ratios.append(float(value))
        if not sum(ratios):
            raise ValueError(f"'{self.column}' has no ratio above 0: nothing can be earned")
        return Asked(row["verifier"], without_nulls(_struct(row, "verifier_parm")), *ratios)

    def check_row(self, extra: Mapping[str, Any]) -> Any:
        """The verifier that the row names, None for detections. ValueError that says what is wrong."""
        asked = self.asked(extra)
        if asked.verifier == DETECTION:
            if not any(getattr(_weights(asked.options), name) for name in EARNING):
                earning = ", ".join(PARTS[name] for name in EARNING)
                raise ValueError(f"`det_reward_ratio` of its row has no weight in (0, 1] for {earning}")
            if not self._plain(asked.options) and self.sizes(extra).seen is None:
                raise ValueError(self._size_fault())
            return None
        return self._math if asked.verifier == MATH else row_verifier(asked.verifier, asked.options)

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            judge = self.check_row(extra)
        except ValueError as error:
            return str(error)
        if judge is None:
            found = boxes_in(_answer_in(answer), self.published)
            return None if found else "it has no box: a list of {bbox_2d, label}"
        answer = _answer_in(answer) if judge is self._math else answer
        fault: str | None = judge.check_gold(answer, extra) if hasattr(judge, "check_gold") else None
        return fault

    def drawn(self, response: str, answer: str, extra: Mapping[str, Any]) -> dict[str, str]:
        """`Verdict.more` for people (boxes/drawn.py); {} for rows without boxes."""
        asked = self.asked(extra)
        if asked.verifier != DETECTION:
            return {}
        gold = boxes_in(_answer_in(answer), self.published)
        said = boxes_in(element(response, first=self.published), self.published)
        plain = self._plain(asked.options)
        if not plain:
            said = self._normalised(said, extra)
        span = self.sizes(extra).seen if plain and self.boxes is Unit.seen else (NORMAL, NORMAL)
        return {} if span is None else written((g.box for g in gold), (s.box for s in said), span)

    def gold_numbers(self, row: str, answer: str, extra: Mapping[str, Any]) -> list[Numbers]:
        """The gold's boxes as they are written; [] for rows without."""
        judge = self._judge_of_boxes(extra)
        if judge is None:
            return []
        if judge is not self:
            return list(judge.gold_numbers(row, answer, extra))
        found = boxes_in(_answer_in(answer), self.published)
        return [Numbers(row, each.box, self.sizes(extra)) for each in found]

    def gold_system(self, extra: Mapping[str, Any]) -> System:
        """What the gold of a row with boxes is declared to be written in."""
        judge = self._judge_of_boxes(extra)
        if judge is not self:
            return System(*judge.systems[0])
        normal = self.asked(extra).options.get("det_verifier_normalized")
        return System(Unit.per_mille if normal else self.boxes, Order.xyxy)

    def gold_remedy(self, system: System) -> str:
        """What to do where golds are written in another system than their rows say."""
        where = f"{self.column}.verifier_parm.det_verifier_normalized"
        if system.order is Order.xyxy and system.unit is Unit.per_mille:
            return f"set {where} of these rows to true"
        if system == System(self.boxes, Order.xyxy):
            return f"set {where} of these rows to false"
        return f"write them in 0-1000, x before y, with {where} true"

    def _judge_of_boxes(self, extra: Mapping[str, Any]) -> Any:
        """Itself for detections, the row's own verifier where that reads boxes, else None."""
        try:
            asked = self.asked(extra)
            if asked.verifier == DETECTION:
                return self
            other = None if asked.verifier == MATH else row_verifier(asked.verifier, asked.options)
        except ValueError:
            return None
        return other if hasattr(other, "gold_numbers") else None

    def _plain(self, options: Mapping[str, Any]) -> bool:
        """Whether boxes are compared as they are written."""
        return self.boxes is Unit.per_mille or not options.get("det_verifier_normalized")

    def _size_fault(self) -> str:
        return (
            f"its boxes are normalised and the policy's are pixels: the row must have '{self.grid}' or "
            f"'{self.size}'; or set boxes=per_mille"
        )

    def _detection(
        self, response: str, answer: str, extra: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[Verdict, float]:
        """Accuracy and format."""
        gold = boxes_in(_answer_in(answer), self.published)
        if not gold:
            raise ValueError("the gold has no box: a list of {bbox_2d, label}")
        text = element(response, first=self.published)
        found = boxes_in(text, self.published)
        if not found:
            reason = Reason.no_answer if text is None else Reason.malformed
            return Verdict(
                score=0.0, reason=reason, extracted=text and text[:300], detail="no box", more=dict(NONE)
            ), 0.0
        if len(found) > MOST:
            return Verdict(
                score=0.0, reason=Reason.refused, detail=f"more than {MOST} boxes", more=dict(NONE)
            ), 0.0
        form = float(one_element(response, self.published))
        if not self._plain(options):
            found = self._normalised(found, extra)
        thresholds = self.counted_from(extra)
        result = detected(found, gold, thresholds, _weights(options), SIZE_PENALTY, self.published)
        verdict = Verdict(
            score=result.score,
            reason=Reason.wrong,
            extracted=(text or "")[:300],
            detail=f"{len(found)} boxes for {len(gold)}",
            more={**result.measures, **self.stage(thresholds)},
        )
        return verdict, form

    def _normalised(self, found: list[Labelled], extra: Mapping[str, Any]) -> list[Labelled]:
        seen = self.sizes(extra).seen
        if seen is None:
            raise ValueError(self._size_fault())
        return [each._replace(box=normalised(each.box, *seen, self.published)) for each in found]


def _struct(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What stands under a key, empty where nothing does. ValueError where that has no keys."""
    found = row.get(key) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"the {key} of its row is {found!r:.60}; it must have keys and values")
    return found


def _weights(options: Mapping[str, Any]) -> Weights:
    """Of a row's `det_reward_ratio`; what is missing or not in [0, 1] counts 0."""
    given = _struct(options, "det_reward_ratio")
    values = [given.get(name) for name in PARTS.values()]
    return Weights(*(float(v) if isinstance(v, int | float) and 0 <= v <= 1 else 0.0 for v in values))


def _answer_in(text: str) -> str:
    """What stands in the answer element, or everything where there is none: of a response where mathematics
    looks for a box, of a gold what V-Triune's loader puts the tags around."""
    found = element(text)
    return text if found is None else found


def _mixed(found: Verdict, form: float, asked: Asked, correct_from: float) -> Verdict:
    """The verdict on accuracy with the format's share added."""
    if not found.scored:
        return found
    total = asked.accuracy_ratio + asked.format_ratio
    score = found.score * asked.accuracy_ratio / total + form * asked.format_ratio / total
    right = found.score >= correct_from
    return replace(
        found,
        score=score,
        reason=Reason.correct if right else Reason.wrong if found.reason is Reason.correct else found.reason,
        judged=found.score,
        more={"accuracy": found.score, "format": form, **found.more},
    )
