"""In which units boxes are written, and what the resize of Qwen's processors makes of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.image_sizes import fitted
from rlvr_cli.verifiers.boxes.geometry import Box, Point

Size = tuple[float, float]
"""(width, height)"""
LARGEST_SIZE = 1e9
"""A side beyond it is that of no image."""


class Unit(Enum):
    pixels = "pixels"
    """Pixels of the image as it is stored."""
    seen = "seen"
    """Pixels of the image as the model sees it, after the processor's resize (Qwen2.5-VL)."""
    per_mille = "per_mille"
    """0 to 1000 of each side (Qwen2-VL, Qwen3-VL, InternVL, GLM-4.1V)."""
    fraction = "fraction"
    """0 to 1 of each side."""
    percent = "percent"
    """0 to 100 of each side (Molmo)."""
    bins = "bins"
    """0 to 1024 of each side (PaliGemma)."""


class Order(Enum):
    xyxy = "xyxy"
    yxyx = "yxyx"
    """y first (PaliGemma, Gemini)."""
    xywh = "xywh"
    """Left, top, width and height (COCO, RefCOCO)."""


SPANS = {Unit.per_mille: 1000.0, Unit.fraction: 1.0, Unit.percent: 100.0, Unit.bins: 1024.0}
"""What a side is in a unit that no image's size changes."""


def in_order(numbers: Sequence[float], order: Order) -> Box:
    """Four numbers as (x1, y1, x2, y2)."""
    a, b, c, d = numbers
    if order is Order.yxyx:
        return b, a, d, c
    return (a, b, a + c, b + d) if order is Order.xywh else (a, b, c, d)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of an image; None where it is not known."""

    original: Size | None = None
    seen: Size | None = None

    def span(self, unit: Unit) -> Size | None:
        """Width and height in `unit`."""
        if unit in SPANS:
            return SPANS[unit], SPANS[unit]
        return self.original if unit is Unit.pixels else self.seen


class NoSize(ValueError):
    """A row does not say how large its image is, and its boxes have two units."""


def factors(sizes: Sizes, unit: Unit, to: Unit) -> tuple[float, float]:
    """(of x, of y) by which numbers in `unit` become numbers in `to`; NoSize where a size is missing.

    They differ: a resize to multiples of a patch changes the aspect a little.
    """
    if unit is to:
        return 1.0, 1.0
    ours, theirs = sizes.span(unit), sizes.span(to)
    if ours is None or theirs is None:
        raise NoSize(f"boxes in {(unit if ours is None else to).value} take the size of the image")
    return theirs[0] / ours[0], theirs[1] / ours[1]


def scaled(box: Box, by: tuple[float, float]) -> Box:
    return box[0] * by[0], box[1] * by[1], box[2] * by[0], box[3] * by[1]


def scaled_point(point: Point, by: tuple[float, float]) -> Point:
    return point[0] * by[0], point[1] * by[1]


@dataclass(frozen=True, slots=True)
class Resize:
    """Qwen's: sides become multiples of `factor`, the area lies between the two bounds."""

    factor: int
    """Patch times merge: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL."""
    min_pixels: int
    max_pixels: int

    def __call__(self, width: float, height: float) -> tuple[int, int]:
        """(width, height) that the model sees; ValueError for sides in a ratio above 200."""
        try:
            return fitted(width, height, self.factor, self.min_pixels, self.max_pixels)
        except ValueError:
            raise ValueError(f"an image of {width:g} x {height:g} is refused by the processor") from None


def size_in(value: Any) -> Size | None:
    """A size as rows have it: [width, height] or {width, height}; None for all else."""
    if isinstance(value, Mapping):
        value = [value.get("width"), value.get("height")]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    if not all(isinstance(side, int | float) and not isinstance(side, bool) for side in value):
        return None
    if not all(0 < side <= LARGEST_SIZE for side in value):
        return None
    return float(value[0]), float(value[1])


def size_seen(images: Any) -> Size | None:
    """What the model sees of the first image, as the processor has said it: [{seen_width, seen_height}]."""
    first = images[0] if isinstance(images, list) and images else None
    if not isinstance(first, Mapping):
        return None
    return size_in([first.get("seen_width"), first.get("seen_height")])


def size_of_grid(value: Any, patch: int) -> Size | None:
    """What the model sees of the first image, from a grid (t, h, w) in patches: height comes before width."""
    if isinstance(value, Sequence) and value and isinstance(value[0], Sequence):
        value = value[0]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        return None
    return size_in([value[2] * patch, value[1] * patch]) if all(isinstance(n, int) for n in value) else None
