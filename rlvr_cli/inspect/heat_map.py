"""Heat maps as SVG: one cell for each layer and kind of weight, its number in the tooltip. No script."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass

LIGHT, DARK = (222, 235, 247), (8, 48, 107)
"""Of one colour from little to much."""
BELOW, MIDDLE, ABOVE = (33, 102, 172), (240, 240, 240), (178, 24, 43)
"""Of two colours around a middle."""
CELL, ROW, LABEL, TOP = 22, 20, 150, 18
LEGEND = 40


@dataclass(frozen=True)
class Map:
    """Numbers of one model by kind (rows) and layer (columns); NaN where there is none."""

    title: str
    kinds: list[str]
    layers: list[int]
    values: dict[tuple[str, int], float]
    form: str
    """How a number is written: `.1%`."""
    middle: float | None = None
    """What the colours part at; None: one colour from the smallest to the largest."""


def svg(found: Map) -> str:
    """The drawing; wider than the page where there are many layers, so that it stands in a scrolled box."""
    there = [value for value in found.values.values() if math.isfinite(value)]
    low, high = (min(there), max(there)) if there else (0.0, 0.0)
    if found.middle is not None and there:
        reach = max(abs(value - found.middle) for value in there)
        low, high = found.middle - reach, found.middle + reach
    width = LABEL + max(CELL * len(found.layers), 260) + 10
    height = TOP + ROW * len(found.kinds) + LEGEND
    parts = [
        f'<svg viewBox="0 0 {width} {height}" style="width:{width}px" role="img" '
        f'aria-label="{html.escape(found.title)}">',
        *_axes(found),
        *_cells(found, low, high),
        *_legend(found, low, high, height - LEGEND + 14),
        "</svg>",
    ]
    return "".join(parts)


def _axes(found: Map) -> Iterator[str]:
    every = 1 if len(found.layers) <= 12 else 4
    for column, layer in enumerate(found.layers):
        if column % every == 0:
            x = LABEL + CELL * (column + 0.5)
            yield f'<text x="{x:g}" y="{TOP - 5}" text-anchor="middle">{layer}</text>'
    for row, kind in enumerate(found.kinds):
        y = TOP + ROW * row + 14
        yield f'<text x="{LABEL - 6}" y="{y}" text-anchor="end">{html.escape(kind)}</text>'


def _cells(found: Map, low: float, high: float) -> Iterator[str]:
    for row, kind in enumerate(found.kinds):
        for column, layer in enumerate(found.layers):
            value = found.values.get((kind, layer), math.nan)
            if not math.isfinite(value):
                continue
            x, y = LABEL + CELL * column, TOP + ROW * row
            said = html.escape(f"{kind}, layer {layer}: {value:{found.form}}")
            fill = colour(value, low, high, two=found.middle is not None)
            yield f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{ROW - 1}" fill="{fill}">'
            yield f"<title>{said}</title></rect>"


def _legend(found: Map, low: float, high: float, y: int) -> Iterator[str]:
    steps, wide = 24, 160
    for step in range(steps):
        value = low + (high - low) * step / (steps - 1)
        fill = colour(value, low, high, two=found.middle is not None)
        x = LABEL + wide * step / steps
        yield f'<rect x="{x:.1f}" y="{y}" width="{wide / steps + 0.5:.1f}" height="8" fill="{fill}"/>'
    ends = [(LABEL, low, "start"), (LABEL + wide, high, "end")]
    if found.middle is not None:
        ends.insert(1, (LABEL + wide // 2, found.middle, "middle"))
    for x, value, anchor in ends:
        yield f'<text x="{x}" y="{y + 20}" text-anchor="{anchor}">{value:{found.form}}</text>'


def colour(value: float, low: float, high: float, *, two: bool) -> str:
    """`#rrggbb` of a number between `low` and `high`; where all are equal that of the middle."""
    share = (value - low) / (high - low) if high > low else 0.5
    if not two:
        return _mixed(LIGHT, DARK, share)
    return _mixed(BELOW, MIDDLE, 2 * share) if share < 0.5 else _mixed(MIDDLE, ABOVE, 2 * share - 1)


def _mixed(first: tuple[int, ...], second: tuple[int, ...], share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(first, second, strict=True))
