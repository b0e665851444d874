"""The size in which a model of Qwen's kind sees an image: of the processor, of verifiers, of plans."""

from __future__ import annotations

import math

STEEPEST = 200
"""Largest ratio of an image's sides."""


def fitted(width: float, height: float, side: int, least: int, most: int) -> tuple[int, int]:
    """(width, height): multiples of `side`, a token's, whose area lies between the bounds.

    As `smart_resize` of transformers (models/qwen2_vl) has it, halves to the even number. ValueError for
    sides in a ratio above STEEPEST.
    """
    if min(width, height) <= 0 or max(width, height) / min(width, height) > STEEPEST:
        raise ValueError(f"{width:g} x {height:g} pixels; one side may be {STEEPEST} times the other")
    wide, tall = (round(length / side) * side for length in (width, height))
    # A side below half of a token's rounds to 0, and so does the area: it is then raised to the lower bound.
    if wide * tall > most:
        shrink = math.sqrt(height * width / most)
        wide, tall = (math.floor(length / shrink / side) * side for length in (width, height))
    elif wide * tall < least:
        grow = math.sqrt(least / (height * width))
        wide, tall = (math.ceil(length * grow / side) * side for length in (width, height))
    return max(wide, side), max(tall, side)
