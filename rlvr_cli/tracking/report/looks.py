"""How lines of several runs are told apart: twelve colours, two styles, and small multiples beyond."""

from __future__ import annotations

from typing import Literal

from rlvr_cli.tracking.plots import COLOURS

DASHED = ("#17A2B8", "#7E57C2", "#8C4A2F", "#8A8A8A", "#A8A800", "#D6336C")
LOOKS: tuple[tuple[str, Literal["solid", "dashed"]], ...] = (
    *((colour, "solid") for colour in COLOURS[:6]),
    *((colour, "dashed") for colour in DASHED),
)
"""(colour, style) of a line: six colours that the colour-blind tell apart drawn solid, six more dashed."""
MOST = len(LOOKS)
"""Lines on one plot; of more, each has a small one of its own."""


def look(number: int) -> tuple[str, Literal["solid", "dashed"]]:
    return LOOKS[number % MOST]
