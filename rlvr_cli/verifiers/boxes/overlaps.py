"""How well boxes of responses lie on the golds, in every coordinate system they might be written in."""

from __future__ import annotations

from collections.abc import Sequence

from rlvr_cli.verifiers.boxes.doubts import System
from rlvr_cli.verifiers.boxes.geometry import Box, iou
from rlvr_cli.verifiers.boxes.units import NoSize, Order, Sizes, Unit, factors, in_order, scaled

Means = dict[System, tuple[float, int]]
"""System -> (sum, count) of the best IoU of each gold box."""
MOST = 20
"""Boxes of a response, and of a gold, that are compared."""
FEWEST = 20
"""Responses with boxes below which no system is named."""
GOOD = 0.3
"""Mean IoU from which a system explains what a policy writes, if that of the declared one is half of it."""


def overlaps(said: Sequence[Box], gold: Sequence[Box], unit: Unit, sizes: Sizes) -> Means:
    """`said`: four numbers each, as they are written; `gold`: boxes in `unit`. {} where either has none."""
    found: Means = {}
    for system in (System(each, order) for each in Unit for order in Order) if said and gold else ():
        try:
            by = factors(sizes, system.unit, unit)
        except NoSize:
            continue
        boxes = [scaled(in_order(four, system.order), by) for four in said[:MOST]]
        best = [max(iou(box, each) for box in boxes) for each in gold[:MOST]]
        found[system] = sum(best) / len(best), 1
    return found


def added(one: Means, other: Means) -> Means:
    """Of both together."""
    keys = dict.fromkeys([*one, *other])
    none = (0.0, 0)
    return {
        key: (
            one.get(key, none)[0] + other.get(key, none)[0],
            one.get(key, none)[1] + other.get(key, none)[1],
        )
        for key in keys
    }


def explained(found: Means, declared: System) -> tuple[System, float, float, int] | None:
    """(the system that responses are written in, its mean IoU, that of the declared one, responses) where it
    is another one and there is no doubt."""
    if declared not in found or found[declared][1] < FEWEST:
        return None
    means = {system: total / count for system, (total, count) in found.items() if count >= FEWEST}
    best = max(means, key=lambda system: (means[system], system.unit is declared.unit))
    if means[best] < GOOD or means[declared] > means[best] / 2:
        return None
    return best, means[best], means[declared], found[best][1]
