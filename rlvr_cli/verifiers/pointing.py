"""Points: whether they lie in what was asked for, a box, a mask, or one in each of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.boxes.declared import Declared
from rlvr_cli.verifiers.boxes.drawn import drawing
from rlvr_cli.verifiers.boxes.geometry import Point, centre
from rlvr_cli.verifiers.boxes.masks import Mask, Target, inside, mask_of
from rlvr_cli.verifiers.boxes.reader import Form, read_points
from rlvr_cli.verifiers.boxes.units import NoSize, Order, Unit, scaled_point
from rlvr_cli.verifiers.golds import wrapped
from rlvr_cli.verifiers.rejected import Rejected


class Want(Enum):
    """What makes points right."""

    one = "one"
    """One point, and it lies in a target."""
    first = "first"
    """The first of them lies in a target."""
    share = "share"
    """The score is the share that does."""
    each = "each"
    """As many points as targets, one in each."""


@dataclass(kw_only=True)
class Pointing(Declared):
    name: str = "pointing"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    box_key: str = "point_2d"
    """Of form=json: key of the numbers; of four the centre of the box is taken."""
    want: Want = Want.one
    """What makes points right: one, first, share or each."""
    most: int = 200
    """Answers with more points are refused."""

    def __post_init__(self) -> None:
        self.check_declared()
        if self.order is Order.xywh:
            raise ValueError("order=xywh is one of boxes; a point is x y, or with order=yxyx y x")
        if self.most < 1:
            raise ValueError(f"most is {self.most}; it must be at least 1")

    @drawing
    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            targets = self.targets(answer, extra)
            text = self.answer_text(response)
            by = self.conversion(extra)
            read = read_points(text, self.form, self.order is Order.yxyx, self.most, self.keys)
        except (ValueError, NoSize) as error:
            return Verdict(score=0.0, reason=Reason.crash, detail=str(error))
        except Rejected as rejected:
            return rejected.verdict
        points = [scaled_point(point, by) for point, _ in read]
        if not points:
            return Verdict(score=0.0, reason=Reason.no_answer, extracted=text[:300], detail="no point")
        if self.want is Want.one and len(points) > 1:
            return Verdict(
                score=0.0, reason=Reason.refused, extracted=text[:300], detail=f"{len(points)} points"
            )
        score = self._score(points, targets)
        return Verdict(
            score=score,
            reason=Reason.correct if score == 1 else Reason.wrong,
            extracted=text[:300],
            detail=f"{len(points)} points for {len(targets)} targets",
        )

    inline = verify

    def _score(self, points: list[Point], targets: list[Target]) -> float:
        hits = [[n for n, target in enumerate(targets) if inside(target, point)] for point in points]
        if self.want is Want.share:
            return sum(map(bool, hits)) / len(hits)
        if self.want is Want.each:
            return float(len(points) == len(targets) and _one_each(hits))
        return float(bool(hits[0]))

    def _read(self, response: str, extra: Mapping[str, Any]) -> Sequence[Sequence[float]]:
        try:
            text, yx = self.answer_text(response), self.order is Order.yxyx
            read = read_points(text, self.form, yx, self.most, self.keys)
            return [scaled_point(point, self.conversion(extra)) for point, _ in read]
        except (Rejected, ValueError):
            return []

    def targets(self, answer: str, extra: dict[str, Any]) -> list[Target]:
        """ValueError that says what is wrong with them."""
        try:
            value = self.given(answer, extra)
        except Rejected as rejected:
            raise ValueError(f"the gold is no target: {rejected.verdict.detail}") from None
        entries = value if isinstance(value, list) else [value]
        if not any(map(_is_mask, entries)):
            found: list[Target] = [each.box for each in self.gold_boxes(answer, extra)]
        elif self.gold is not Unit.pixels:
            raise ValueError(f"the gold is a mask, which has pixels; set gold=pixels, not {self.gold.value}")
        else:
            found = [mask_of(each) for each in entries]
        if not found:
            raise ValueError("the gold has no target")
        return found

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            for target in self.targets(answer, extra):
                if not isinstance(target, Mask) and not (target[0] <= target[2] and target[1] <= target[3]):
                    return "a box of the gold has no inside; is gold_order right?"
        except ValueError as error:
            return str(error)
        return self.size_fault(extra)

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        targets = self.targets(answer, extra)
        if self.form is not Form.json or any(isinstance(target, Mask) for target in targets):
            return []
        points = [centre(target) for target in targets if not isinstance(target, Mask)]
        return [self._says(points if self.want is Want.each else points[:1], extra)]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [
            "",
            wrapped("no point", self.extraction),
            *([self._says([(-1.0, -1.0)], extra)] if self.form is Form.json else []),
        ]

    def _says(self, points: list[Point], extra: dict[str, Any]) -> str:
        x, y = self.conversion(extra)
        scaled = [(a / x, b / y) for a, b in points]
        ordered = [[b, a] if self.order is Order.yxyx else [a, b] for a, b in scaled]
        return wrapped(self.entries(ordered), self.extraction)

    def entries(self, numbers: list[list[float]]) -> str:
        """As JSON."""
        return "[" + ", ".join(f'{{"{self.box_key}": {each}}}' for each in numbers) + "]"


def _is_mask(value: Any) -> bool:
    return isinstance(value, dict) and ("counts" in value or "mask" in value)


def _one_each(hits: list[list[int]]) -> bool:
    """Whether every point can be given a target of its own: augmenting paths."""
    owner: dict[int, int] = {}

    def place(point: int, tried: set[int]) -> bool:
        for target in hits[point]:
            if target not in tried:
                tried.add(target)
                if target not in owner or place(owner[target], tried):
                    owner[target] = point
                    return True
        return False

    return all(place(point, set()) for point in range(len(hits)))
