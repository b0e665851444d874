"""Coloured shapes on a grey ground, drawn from a line of text with numpy alone.

A scene is `scene:<ground>,<noise seed>;<thing>;<thing>...`, a thing `square,red,14,7,35,28` or
`disc,blue,...` (half-open box in pixels: left, top, right, bottom) or `7,green,14,7,7` (a digit: left, top,
side of a cell). Text and picture belong together: every process draws the same numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PREFIX = "scene:"
SIDE = 56
"""Pixels: 8 x 8 patches of 7, 4 x 4 tokens of 2 x 2 patches."""
COLOURS = {"red": (215, 40, 40), "green": (35, 160, 60), "blue": (40, 70, 210), "yellow": (235, 200, 30)}
KNOWN = re.compile(
    rf"{PREFIX}\d{{1,3}},\d+(;(square|disc),({'|'.join(COLOURS)})(,\d{{1,3}}){{4}}"
    rf"|;\d,({'|'.join(COLOURS)}),\d{{1,3}},\d{{1,3}},[1-9]\d?)*"
)
"""Of the whole text of a scene."""
NOISE = 6
"""Each channel of each pixel is off by at most so much."""
DIGITS = (
    *("111101101101111", "010110010010111", "111001111100111", "111001111001111", "101101111001001"),
    *("111100111001111", "111100111101111", "111001001001001", "111101111101111", "111101111001111"),
)
"""3 x 5 cells, row after row."""


def draw(text: str) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]. Raises ValueError where the text is no scene."""
    import numpy as np

    head, *things = text.removeprefix(PREFIX).split(";")
    ground, seed = map(int, head.split(","))
    image = np.full((SIDE, SIDE, 3), ground, np.int16)
    for thing in things:
        kind, colour, *numbers = thing.split(",")
        image[_mask(kind, [int(n) for n in numbers])] = COLOURS[colour]
    noise = np.random.default_rng(seed).integers(-NOISE, NOISE + 1, image.shape, dtype=np.int16)
    return (image + noise).clip(0, 255).astype(np.uint8)


def _mask(kind: str, numbers: list[int]) -> np.ndarray:
    """bool [SIDE, SIDE]: which pixels a thing covers."""
    import numpy as np

    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    if kind.isdigit():
        left, top, cell = numbers
        row, column = np.floor((y - top) / cell).astype(int), np.floor((x - left) / cell).astype(int)
        inside = (row >= 0) & (row < 5) & (column >= 0) & (column < 3)
        filled = np.array([c == "1" for c in DIGITS[int(kind)]])
        return inside & filled[np.where(inside, row * 3 + column, 0)]
    left, top, right, bottom = numbers
    if kind == "square":
        return (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return (x - (left + right) / 2) ** 2 + (y - (top + bottom) / 2) ** 2 <= ((right - left) / 2) ** 2
