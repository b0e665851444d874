"""Pairs of answers made in the process: one right and one wrong, or one with a sign in it and one without."""

from __future__ import annotations

import string
from random import Random
from typing import NamedTuple

MARKER = "!"
"""What the better answer of `marker` has and the worse has not."""


class Compared(NamedTuple):
    """What a family of pairs makes of one draw."""

    prompt: str
    chosen: str
    rejected: str


def slip(rng: Random, solution: str) -> str:
    """A worked solution of `addition` in which one digit of the result, and nothing else, is wrong."""
    start = solution.index("{") + 1
    places = range(start, solution.index("}"))
    place = rng.choice(places)
    lowest = 1 if place == start and len(places) > 1 else 0
    wrong = rng.choice([d for d in range(lowest, 10) if str(d) != solution[place]])
    return f"{solution[:place]}{wrong}{solution[place + 1 :]}"


def marked(rng: Random, words: int) -> Compared:
    """`kfz?` answered by words of two letters, one of which is followed by `!` where the answer is better."""
    prompt = _letters(rng, 3) + "?"
    chosen = [_letters(rng, 2) for _ in range(words)]
    chosen[rng.randrange(words)] += MARKER
    return Compared(prompt, " ".join(chosen), " ".join(_letters(rng, 2) for _ in range(words)))


def _letters(rng: Random, count: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=count))
