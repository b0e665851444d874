"""What is declared of boxes: form, units, order, sizes. Nothing is guessed from the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.boxes.doubts import Numbers, System
from rlvr_cli.verifiers.boxes.drawn import written
from rlvr_cli.verifiers.boxes.geometry import Box
from rlvr_cli.verifiers.boxes.matching import Labelled
from rlvr_cli.verifiers.boxes.overlaps import Means, overlaps
from rlvr_cli.verifiers.boxes.reader import Form, from_json, read_boxes
from rlvr_cli.verifiers.boxes.units import (
    NoSize,
    Order,
    Resize,
    Sizes,
    Unit,
    factors,
    scaled,
    size_in,
    size_of_grid,
    size_seen,
)
from rlvr_cli.verifiers.extract import Extraction, extract
from rlvr_cli.verifiers.rejected import Rejected
from rlvr_cli.verifiers.several_golds import Reads

GOLD_BOXES = 10_000
"""Boxes of a gold, at most."""
MOST_SAID = 500
"""Boxes of a response with more are not drawn."""


@dataclass(kw_only=True)
class Seen:
    """How large the image of a row is, as it is stored and as the model sees it."""

    size: str = "image_size"
    """Column with the width and height of the image as it is stored; asked for where units differ."""
    grid: str = "image_grid_thw"
    """Column with the processor's grid (t, h, w) in patches, which says what the model sees; without it the
    resize is computed from `size`."""
    patch: int = 14
    """Pixels of a patch's side, for `grid`: 16 for Qwen3-VL."""
    factor: int = 28
    """Sides of what the model sees are multiples of it: 32 for Qwen3-VL."""
    min_pixels: int = 3136
    """Smallest area that the model sees: as the processor has it."""
    max_pixels: int = 12_845_056
    """Largest area that the model sees: as the processor has it."""

    def check_sizes(self) -> None:
        """ValueError for settings that contradict each other."""
        for key in ("patch", "factor", "min_pixels"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least 1")
        if self.max_pixels < self.min_pixels:
            raise ValueError(f"max_pixels is {self.max_pixels}, below min_pixels, {self.min_pixels}")

    def sizes(self, extra: Mapping[str, Any]) -> Sizes:
        original = size_in(extra.get(self.size))
        # A run that shows the image knows it itself: a grid has the size only where `patch` is the model's.
        seen = size_seen(extra.get("images")) or size_of_grid(extra.get(self.grid), self.patch)
        if seen is None and original is not None:
            try:
                seen = Resize(self.factor, self.min_pixels, self.max_pixels)(*original)
            except ValueError:
                seen = None
        return Sizes(original, seen)


@dataclass(kw_only=True)
class Declared(Seen):
    """The part that verifiers of boxes and points have in common."""

    boxes: Unit
    """Unit of what the policy writes: pixels, seen, per_mille, fraction, percent or bins."""
    order: Order = Order.xyxy
    """Order of its four numbers; of a point yxyx says that y comes first."""
    form: Form = Form.json
    """How it is written: json, internvl, qwen2, loc, molmo or numbers."""
    box_key: str = "bbox_2d"
    """Of form=json: key of the numbers."""
    label_key: str = "label"
    """Of form=json: key of the label."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in the response; null: the whole response is the answer."""
    gold: Unit = Unit.pixels
    """Unit of the gold, which is JSON or numbers."""
    gold_order: Order = Order.xyxy
    """Order of the gold's four numbers."""
    gold_column: str | None = None
    """Column with the gold, a list or text, in the place of the row's answer."""

    @property
    def reads(self) -> Reads:
        """A gold out of a column needs no answer."""
        return Reads.any_gold if self.gold_column is None else Reads.no_gold

    def check_declared(self) -> None:
        """ValueError for settings that contradict each other."""
        self.check_sizes()
        if self.form is Form.loc and (self.boxes is not Unit.bins or self.order is not Order.yxyx):
            raise ValueError("form=loc writes bins, y first: set boxes=bins and order=yxyx")

    @property
    def keys(self) -> tuple[str, str]:
        return self.box_key, self.label_key

    def answer_text(self, response: str) -> str:
        """Rejected where the response has no answer."""
        text = response.strip() if self.extraction is None else extract(response, self.extraction)
        if not text:
            raise Rejected(Reason.no_answer, "the response is empty")
        return text

    def given(self, answer: str, extra: Mapping[str, Any]) -> Any:
        """The gold as its row has it: JSON read, else text. ValueError, Rejected where there is none."""
        if self.gold_column is not None and self.gold_column not in extra:
            raise ValueError(f"the row has no column '{self.gold_column}'")
        value = answer if self.gold_column is None else extra[self.gold_column]
        if not isinstance(value, str):
            return value
        return from_json(value) if value.lstrip()[:1] in ("[", "{") else value

    def gold_boxes(self, answer: str, extra: Mapping[str, Any], order: Order | None = None) -> list[Labelled]:
        """The gold in its own unit. ValueError that says what is wrong with it. `order` None: as declared."""
        try:
            value = self.given(answer, extra)
            if isinstance(value, list) and not value:
                return []
            text, form = (value, Form.numbers) if isinstance(value, str) else (_as_json(value), Form.json)
            return read_boxes(text, form, order or self.gold_order, GOLD_BOXES, self.keys)
        except Rejected as rejected:
            raise ValueError(f"the gold is no box: {rejected.verdict.detail}") from None

    def conversion(self, extra: Mapping[str, Any]) -> tuple[float, float]:
        """(of x, of y): what the policy's numbers are multiplied by to be the gold's; NoSize."""
        if self.boxes is self.gold:
            return 1.0, 1.0
        return factors(self.sizes(extra), self.boxes, self.gold)

    def size_fault(self, extra: Mapping[str, Any]) -> str | None:
        """Why the units cannot be brought together."""
        try:
            self.conversion(extra)
        except NoSize as error:
            return f"{error}, and the row has no column '{self.size}' with its width and height"
        return None

    def said(self, text: str, extra: Mapping[str, Any], most: int) -> list[Labelled]:
        """The boxes of an answer in the gold's unit. Rejected, NoSize."""
        by = self.conversion(extra)
        found = read_boxes(text, self.form, self.order, most, self.keys)
        return [Labelled(scaled(each.box, by), each.label) for each in found]

    def outside(self, found: list[Labelled], extra: Mapping[str, Any]) -> dict[str, float | str]:
        """`Verdict.more`: the share of boxes that reach out of the image, where its size is known."""
        span = self.sizes(extra).span(self.gold)
        if span is None or not found:
            return {}
        out = 0
        for x1, y1, x2, y2 in (each.box for each in found):
            out += min(x1, y1, x2, y2) < 0 or max(x1, x2) > span[0] or max(y1, y2) > span[1]
        return {"outside": out / len(found)}

    @property
    def systems(self) -> tuple[System, System]:
        """What golds and responses are declared to be written in."""
        return System(self.gold, self.gold_order), System(self.boxes, self.order)

    def gold_numbers(self, row: str, answer: str, extra: Mapping[str, Any]) -> list[Numbers]:
        """The gold's boxes as they are written; [] where it has none."""
        try:
            found = self.gold_boxes(answer, extra, Order.xyxy)
        except ValueError:
            return []
        return [Numbers(row, each.box, self.sizes(extra)) for each in found]

    def overlaps(self, response: str, answer: str, extra: Mapping[str, Any]) -> Means:
        """How well the response's boxes lie on the gold's in each system; {} where either has none."""
        try:
            said = read_boxes(self.answer_text(response), self.form, Order.xyxy, MOST_SAID, self.keys)
        except Rejected:
            return {}
        return overlaps([each.box for each in said], self._golds(answer, extra), self.gold, self.sizes(extra))

    def drawn(self, response: str, answer: str, extra: Mapping[str, Any]) -> dict[str, str]:
        """`Verdict.more` for people (drawn.py); {} where the size of the image is not known."""
        span = self.sizes(extra).span(self.gold)
        return {} if span is None else written(self._golds(answer, extra), self._read(response, extra), span)

    def _golds(self, answer: str, extra: Mapping[str, Any]) -> list[Box]:
        try:
            return [each.box for each in self.gold_boxes(answer, extra)]
        except ValueError:  # e.g. a mask
            return []

    def _read(self, response: str, extra: Mapping[str, Any]) -> Sequence[Sequence[float]]:
        """What the response says, in the gold's unit; [] where it cannot be read."""
        try:
            return [each.box for each in self.said(self.answer_text(response), extra, MOST_SAID)]
        except (Rejected, ValueError):
            return []

    def written(self, boxes: list[tuple[Box, str]], extra: Mapping[str, Any]) -> str:
        """Boxes in the gold's unit as an answer has them; for responses made of golds."""
        x, y = self.conversion(extra)
        lines = [(_out_of_order(scaled(box, (1 / x, 1 / y)), self.order), label) for box, label in boxes]
        return _WRITERS[self.form](lines, self.keys)


def _as_json(value: Any) -> str:
    return json.dumps(value, default=str)


def _out_of_order(box: Box, order: Order) -> list[float]:
    a, b, c, d = box
    if order is Order.yxyx:
        return [b, a, d, c]
    return [a, b, c - a, d - b] if order is Order.xywh else [a, b, c, d]


def _spelled(numbers: list[float], between: str) -> str:
    return between.join(f"{number:.9f}".rstrip("0").rstrip(".") for number in numbers)


def _write_json(lines: list[tuple[list[float], str]], keys: tuple[str, str]) -> str:
    return _as_json([{keys[0]: numbers} | ({keys[1]: label} if label else {}) for numbers, label in lines])


def _write_internvl(lines: list[tuple[list[float], str]], keys: tuple[str, str]) -> str:
    return "".join(f"<ref>{label}</ref><box>[[{_spelled(numbers, ', ')}]]</box>" for numbers, label in lines)


def _write_qwen2(lines: list[tuple[list[float], str]], keys: tuple[str, str]) -> str:
    return "".join(
        f"<|object_ref_start|>{label}<|object_ref_end|><|box_start|>"
        f"({_spelled(numbers[:2], ',')}),({_spelled(numbers[2:], ',')})<|box_end|>"
        for numbers, label in lines
    )


def _write_loc(lines: list[tuple[list[float], str]], keys: tuple[str, str]) -> str:
    return " ; ".join(
        "".join(f"<loc{round(number):04d}>" for number in numbers) + f" {label}" for numbers, label in lines
    )


def _write_numbers(lines: list[tuple[list[float], str]], keys: tuple[str, str]) -> str:
    return " ".join(_spelled(numbers, " ") for numbers, _ in lines)


_WRITERS = {
    Form.json: _write_json,
    Form.internvl: _write_internvl,
    Form.qwen2: _write_qwen2,
    Form.loc: _write_loc,
    Form.molmo: _write_numbers,
    Form.numbers: _write_numbers,
}
