"""Questions about coloured shapes on 56 x 56 pixels (vision/scenes.py).

Things stand on a lattice of 7 pixels, half an image token, where a tiny model finds them in a few hundred
steps; `step` 1 has them anywhere, which takes it many times as long.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from rlvr_cli.data.options import check
from rlvr_cli.vision import scenes

COLOURS = tuple(scenes.COLOURS)
LATTICE = 7
SIZES = (14, 21, 28)
"""Of a square that is to be found."""
APART = 3
"""Pixels by which the larger of two shapes is larger, at least."""
MISSES = 200
"""Places that are tried for a shape before the scene is begun anew."""


class Seen(NamedTuple):
    """A problem with an image."""

    prompt: str
    answer: str
    completion: str
    scene: str

    @property
    def shapes(self) -> str:
        """The scene without its ground and noise: which split a problem is in follows from it."""
        return self.scene.partition(";")[2]


def shapes_count(rng: Random, *, most: int = 4) -> Seen:
    """An image of 1 to `most` shapes: `count?` -> `3`."""
    check("most", most, 1, 6)
    number = rng.randint(1, most)
    things = _scattered(rng, [(_kind(rng), rng.choice(COLOURS), rng.randint(8, 11)) for _ in range(number)])
    return _seen(rng, "count?", str(number), things)


def shapes_colour(rng: Random) -> Seen:
    """An image of a square and a disc: `colour?` -> `red`, that of the square."""
    colour = rng.choice(COLOURS)
    things = _scattered(rng, [("square", colour, 14), ("disc", rng.choice(COLOURS), 14)])
    return _seen(rng, "colour?", colour, things)


def shapes_digit(rng: Random, *, step: int = LATTICE) -> Seen:
    """An image of a digit, 21 x 35 pixels at multiples of `step`: `digit?` -> `7`."""
    check("step", step, 1, 21)
    digit = rng.randint(0, 9)
    left, top = (rng.randrange(0, scenes.SIDE - cells * LATTICE + 1, step) for cells in (3, 5))
    return _seen(rng, "digit?", str(digit), [f"{digit},{rng.choice(COLOURS)},{left},{top},{LATTICE}"])


def shapes_bigger(rng: Random) -> Seen:
    """An image of a square left and a disc right, one of them larger: `bigger?` -> `left`."""
    small = rng.randint(8, 20)
    sizes = [small, rng.randint(small + APART, 24)]
    rng.shuffle(sizes)
    things = []
    for kind, size, start in zip(("square", "disc"), sizes, (0, scenes.SIDE // 2), strict=True):
        left = start + rng.randint(0, scenes.SIDE // 2 - size)
        things.append(_thing(kind, rng.choice(COLOURS), left, rng.randint(0, scenes.SIDE - size), size))
    return _seen(rng, "bigger?", "left" if sizes[0] > sizes[1] else "right", things)


def shapes_box(rng: Random, *, step: int = LATTICE) -> Seen:
    """An image of a square and a disc: `box?` -> `14 07 35 28`, x1 y1 x2 y2 of the square in pixels."""
    check("step", step, 1, 28)
    while True:
        size = rng.choice(SIZES)
        left, top = (rng.randrange(0, scenes.SIDE - size + 1, step) for _ in "xy")
        square = _thing("square", rng.choice(COLOURS), left, top, size)
        things = _scattered(rng, [("disc", rng.choice(COLOURS), 12)], [square])
        if len(things) == 2:
            break
    box = " ".join(f"{edge:02d}" for edge in (left, top, left + size, top + size))
    return _seen(rng, "box?", box, things)


FAMILIES = (shapes_count, shapes_colour, shapes_digit, shapes_bigger, shapes_box)


def _seen(rng: Random, prompt: str, answer: str, things: list[str]) -> Seen:
    head = f"{scenes.PREFIX}{rng.randint(225, 250)},{rng.randrange(2**31)}"
    return Seen(prompt, answer, answer, ";".join([head, *things]))


def _kind(rng: Random) -> str:
    return rng.choice(("square", "disc"))


def _thing(kind: str, colour: str, left: int, top: int, size: int) -> str:
    return f"{kind},{colour},{left},{top},{left + size},{top + size}"


def _scattered(rng: Random, wanted: list[tuple[str, str, int]], there: list[str] | None = None) -> list[str]:
    """These (kind, colour, size) at places where none touches another, after those that are `there`.

    Begun anew where one finds no place; with things that are there, what has found one.
    """
    while True:
        things = list(there or [])
        for kind, colour, size in wanted:
            for _ in range(MISSES):
                left, top = (rng.randint(0, scenes.SIDE - size) for _ in "xy")
                if all(_apart((left, top, left + size, top + size), each) for each in things):
                    things.append(_thing(kind, colour, left, top, size))
                    break
        if there is not None or len(things) == len(wanted):
            return things


def _apart(box: tuple[int, int, int, int], thing: str) -> bool:
    """Whether there is a pixel between the two."""
    left, top, right, bottom = map(int, thing.split(",")[2:])
    return box[2] < left or right < box[0] or box[3] < top or bottom < box[1]
