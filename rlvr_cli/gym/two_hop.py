"""A small made-up world: works, their makers, and where these were born and are at home.

Data (questions, data/synthetic.py) and environments (documents, environments/retrieval/) read the same world,
which is always the same. A work's document names its maker only, so that a question about the maker's
places takes two searches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from rlvr_cli.core.files import write_atomically

WORKS, PLACES = 186, 40
INITIALS = "BDFGKLMNPRSTVZ"
"""Of names; there is one maker for each."""
PLACE_OF = ("born", "home")
"""What is known of a maker."""
SEED = 17


@dataclass(slots=True, frozen=True)
class Fact:
    """A document: what is said of the thing that it is titled after."""

    title: str
    text: str


@dataclass(slots=True, frozen=True)
class World:
    maker_of: dict[str, str]
    """Work -> maker."""
    place_of: dict[str, dict[str, str]]
    """Maker -> `born`, `home` -> place."""


@cache
def world() -> World:
    """186 works and 14 makers, names of three letters each; a work begins as its maker does, which spares a
    model of characters to learn how to copy."""
    rng = Random(SEED)
    names = [f"{a}{b}{c}" for a in INITIALS for b in "aeiou" for c in "bdgklmnrstvz"]
    makers = [rng.choice([name for name in names if name[0] == initial]) for initial in INITIALS]
    drawn = rng.sample([name for name in names if name not in makers], WORKS + PLACES)
    works, places = drawn[:WORKS], drawn[WORKS:]
    return World(
        maker_of={work: next(maker for maker in makers if maker[0] == work[0]) for work in works},
        place_of={maker: dict(zip(PLACE_OF, rng.sample(places, 2), strict=True)) for maker in makers},
    )


@cache
def documents() -> list[Fact]:
    """200: of each work and of each maker one."""
    works = [Fact(work, f"art by {maker}") for work, maker in world().maker_of.items()]
    makers = [
        Fact(maker, ", ".join(f"{what} {place}" for what, place in places.items()))
        for maker, places in world().place_of.items()
    ]
    return works + makers


def write_corpus(path: Path) -> None:
    """The documents as a corpus file (`id`, `contents`), as environments with a retriever read it."""
    rows = [{"id": fact.title, "contents": f'"{fact.title}"\n{fact.text}'} for fact in documents()]
    write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in rows))
