"""Coordinate systems that boxes show, against the one that is declared: told where they leave no doubt.

A system is a unit and an order. What is read by the wrong one reaches out of the images, has no area, or
lies in the upper left corner of them all. Another one is named only where it fits nearly all boxes, which
then fill the images to their edges; where several do, the one that differs least and fills them best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rlvr_cli.verifiers.boxes.geometry import Box
from rlvr_cli.verifiers.boxes.units import Order, Size, Sizes, Unit, in_order

FEWEST = 10
"""Boxes below which no other system is named."""
MANY = 50
"""From so many on it counts that none reaches beyond CORNER of its image; below, beyond a third of that."""
CORNER = 0.6
WRONG = 0.1
"""Share of boxes that do not fit the declared system from which another one is looked for."""
FITTING = 0.995
"""Share of boxes that must fit another one."""
FULL = 0.85
"""How far they must reach, of the width and of the height."""
ALIKE = 0.05
"""Sides by which boxes must reach farther on average in one system than in another, to tell them apart."""
SLACK = 0.005
"""Of a side, by which a box may reach out of its image: rounding."""


class System(NamedTuple):
    unit: Unit
    order: Order

    def __str__(self) -> str:
        return f"{self.unit.value} {self.order.value}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of one box as a row has it."""

    row: str
    four: tuple[float, float, float, float]
    sizes: Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What is to be said of the boxes of a source."""

    boxes: int
    outside: int
    """Boxes that reach out of their image."""
    empty: int
    """Boxes without an area."""
    worst: Numbers
    """Which reaches out farthest, else the first without an area, else the first."""
    system: System | None
    """What nearly all fit, where it is not the declared one and there is no doubt."""
    fits: float
    """Share of them that fits it."""
    reach: float
    """How far right and down the declared system has them reach at most, in sides."""


class _Fit(NamedTuple):
    outside: list[float]
    """Of each box, by how much of a side it reaches out; 0: it does not."""
    empty: list[bool]
    reach: tuple[float, float]
    """Farthest right and farthest down, in sides."""
    mean: float
    """Of how far each box reaches right or down, whichever is more."""

    @property
    def share(self) -> float:
        """Of boxes with nothing wrong."""
        right = sum(not out and not none for out, none in zip(self.outside, self.empty, strict=True))
        return right / len(self.empty)


def doubt(found: Sequence[Numbers], declared: System) -> Doubt | None:
    """None where nothing is to be said. Boxes whose image's size is not known are passed over."""
    known = [each for each in found if each.sizes.span(declared.unit) is not None]
    if not known:
        return None
    fit = _fit(known, declared)
    assert fit is not None
    outside, empty = sum(map(bool, fit.outside)), sum(fit.empty)
    system = _other(known, declared, fit)
    if not outside and not empty and system is None:
        return None
    worst = max(range(len(known)), key=lambda n: (fit.outside[n], fit.empty[n]))
    other = None if system is None else _fit(known, system)
    return Doubt(
        boxes=len(known),
        outside=outside,
        empty=empty,
        worst=known[worst],
        system=system,
        fits=0.0 if other is None else other.share,
        reach=max(fit.reach),
    )


def _other(known: Sequence[Numbers], declared: System, fit: _Fit) -> System | None:
    corner = CORNER if len(known) >= MANY else CORNER / 3
    if len(known) < FEWEST or (1 - fit.share < WRONG and max(fit.reach) > corner):
        return None
    fits: dict[System, float] = {}
    for system in (System(unit, order) for unit in Unit for order in Order):
        other = None if system == declared else _fit(known, system, most=1 - FITTING)
        if other is not None and min(other.reach) >= FULL:
            fits[system] = other.mean
    # Of systems with room for all boxes the right one is that whose images they fill best.
    full = max(fits.values(), default=0.0)
    alike = [system for system, mean in fits.items() if mean >= full - ALIKE]

    def likeness(system: System) -> tuple[bool, bool, float]:
        same = system.unit is declared.unit or system.order is declared.order
        return same, system.order is declared.order, fits[system]

    best = max(alike, key=likeness, default=None)
    # Where both axes are as long as each other nothing tells which one comes first.
    unsure = best is not None and best.order is not declared.order and _turned(best) in alike
    return None if unsure else best


def _turned(system: System) -> System | None:
    other = {Order.xyxy: Order.yxyx, Order.yxyx: Order.xyxy}.get(system.order)
    return None if other is None else System(system.unit, other)


def _fit(known: Sequence[Numbers], system: System, most: float = 1.0) -> _Fit | None:
    """None where the system takes sizes that are not known, or a larger share than `most` does not fit."""
    outside, empty, total, right, down, wrong = list[float](), list[bool](), 0.0, 0.0, 0.0, 0
    for each in known:
        if (span := each.sizes.span(system.unit)) is None:
            return None
        x1, y1, x2, y2 = box = in_order(each.four, system.order)
        empty.append(not (x1 < x2 and y1 < y2))
        outside.append(_beyond(box, span))
        wrong += empty[-1] or outside[-1] > 0
        if wrong > most * len(known):
            return None
        x, y = max(x1, x2) / span[0], max(y1, y2) / span[1]
        total, right, down = total + max(x, y), max(right, x), max(down, y)
    return _Fit(outside, empty, (right, down), total / len(known))


def _beyond(box: Box, span: Size) -> float:
    x, y = [edge / span[0] for edge in box[::2]], [edge / span[1] for edge in box[1::2]]
    far = max(-min(x), max(x) - 1, -min(y), max(y) - 1)
    return far if far > SLACK else 0.0


def told(what: str, found: Doubt, declared: System, keys: tuple[str, str] | Callable[[System], str]) -> str:
    """`37 of 50 gold boxes reach out of their images ...`. `keys`: of the recipe, for unit and order; or what
    says what to do where it is no key of the recipe that declares them."""
    parts = []
    if found.outside:
        parts.append(f"{found.outside} of {found.boxes} {what} reach out of their images")
    if found.empty:
        parts.append(f"{found.empty} of {found.boxes} {what} have no area")
    if not parts:
        parts.append(f"none of {found.boxes} {what} reaches beyond {found.reach:.1%} of its image")
    span = found.worst.sizes.span(declared.unit)
    assert span is not None
    numbers, sides = " ".join(f"{n:g}" for n in found.worst.four), " x ".join(f"{n:g}" for n in span)
    line = f"{' and '.join(parts)} as {declared} (e.g. row {found.worst.row}: {numbers} in {sides})"
    if found.system is None:
        return line
    share = "all" if found.fits == 1 else f"{found.fits:.1%}"
    remedy = keys(found.system) if callable(keys) else settings(found.system, declared, keys)
    return f"{line}; {share} fit {found.system}: {remedy}"


def settings(system: System, declared: System, keys: tuple[str, str]) -> str:
    """`set verifiers.iou.gold=per_mille`"""
    pairs = zip(keys, system, declared, strict=True)
    return "set " + " and ".join(f"{key}={new.value}" for key, new, old in pairs if new is not old)
