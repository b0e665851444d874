"""Boxes of gold and response for people: beside the image, whatever units and forms they were written in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from rlvr_cli.core.types import Verdict
from rlvr_cli.verifiers.boxes.units import Size

BOXES = "boxes"
"""In `Verdict.more`, as text: it is no metric."""
MOST = 100
"""Boxes of each kind that are kept."""
IMAGES = "images"
"""Column of rows that have any."""

Verify = Callable[[Any, str, str, dict[str, Any]], Verdict]


def drawing(verify: Verify) -> Verify:
    """A `verify` whose verdict on a row with images has the boxes that were read, of `self.drawn`."""

    @wraps(verify)
    def drawn(self: Any, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        verdict = verify(self, response, answer, extra)
        if not extra.get(IMAGES) or not verdict.scored:
            return verdict
        return replace(verdict, more=verdict.more | self.drawn(response, answer, extra))

    return drawn


def written(gold: Iterable[Sequence[float]], said: Iterable[Sequence[float]], span: Size) -> dict[str, str]:
    """{"boxes": {"gold": [...], "said": [...]}} as JSON, x1 y1 x2 y2 (of points x y) in shares of the sides.

    `span`: width and height in the unit of the numbers.
    """
    parts = {"gold": list(gold), "said": list(said)}
    short: Mapping[str, Any] = {
        name: [[round(number / span[n % 2], 4) for n, number in enumerate(each)] for each in found[:MOST]]
        for name, found in parts.items()
    }
    more = {f"more_{name}": len(found) - MOST for name, found in parts.items() if len(found) > MOST}
    return {BOXES: json.dumps({**short, **more}, separators=(",", ":"))}
