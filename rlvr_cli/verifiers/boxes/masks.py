"""Targets of a point: boxes, and masks as rows of 0 and 1 or as COCO's run lengths."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from rlvr_cli.verifiers.boxes.geometry import Box, Point, holds

LARGEST_SIDE = 1 << 16


@dataclass(frozen=True, slots=True)
class Mask:
    """COCO's uncompressed run lengths: down the columns, zeros first."""

    height: int
    width: int
    ends: tuple[int, ...]
    """Where each run ends; runs of zeros and ones take turns."""

    def __contains__(self, point: Point) -> bool:
        """By the pixel that the point lies in, floor(x) and floor(y)."""
        x, y = floor(point[0]), floor(point[1])
        if not (0 <= x < self.width and 0 <= y < self.height):
            return False
        return bisect_right(self.ends, x * self.height + y) % 2 == 1


Target = Box | Mask


def inside(target: Target, point: Point) -> bool:
    """Of a box the edges count."""
    return point in target if isinstance(target, Mask) else holds(target, point)


def mask_of(value: Any) -> Mask:
    """{size: [h, w], counts: [...]} or {mask: rows}; ValueError for all else."""
    if not isinstance(value, Mapping):
        raise ValueError("a mask is {size, counts} or {mask}")
    if "mask" in value:
        return _of_rows(value["mask"])
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(counts, Sequence) or isinstance(counts, str):
        raise ValueError("`counts` must be a list of run lengths; compressed ones are not read")
    if not isinstance(size, Sequence) or len(size) != 2 or not all(map(_is_side, size)):
        raise ValueError("`size` must be [height, width]")
    ends, at = [], 0
    for count in counts:
        if not isinstance(count, int) or count < 0:
            raise ValueError("`counts` has an entry that is no length")
        at += count
        ends.append(at)
    if at != size[0] * size[1]:
        raise ValueError(f"`counts` covers {at} pixels, and `size` has {size[0] * size[1]}")
    return Mask(size[0], size[1], tuple(ends))


def _is_side(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value <= LARGEST_SIDE


def _of_rows(rows: Any) -> Mask:
    even = isinstance(rows, Sequence) and rows and all(isinstance(row, Sequence) for row in rows)
    if not even or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("`mask` must be rows of 0 and 1, all of one length")
    height, width = len(rows), len(rows[0])
    ends, last = [], False
    for at in range(width * height):
        now = bool(rows[at % height][at // height])
        if now != last:
            ends.append(at)
            last = now
    return Mask(height, width, (*ends, width * height))
