"""Questions about the made-up world of gym/two_hop.py, and a searcher that is good only by chance."""

from __future__ import annotations

from functools import cache
from random import Random

from rlvr_cli.gym.two_hop import PLACE_OF, Fact, documents, world

LEADS_ON = 0.6
"""Share of queries that ask about the maker of the question's work."""
READINGS = 0.75
"""Share of demonstrations that are parts of a first turn."""
STOPS = (0.6, 0.7)
"""Share of first and of second turns that end the search."""


def question(rng: Random, hops: int) -> tuple[str, str, str]:
    """(question, answer, how it is found): `Ken maker born`, or with one hop `Kez born`."""
    work, what = rng.choice(list(world().maker_of)), rng.choice(PLACE_OF)
    maker = world().maker_of[work]
    place = world().place_of[maker][what]
    asked = f"{work} maker {what}" if hops == 2 else f"{maker} {what}"
    return asked, place, f"{work} by {maker}, {maker} {what} {place}"


def turn(rng: Random, asked: str) -> tuple[str, str]:
    """(all that a searcher has seen, what it writes): its first or its second turn on a question.

    It has the form of s3, without what the parser does not need. It mostly asks about the right maker; what
    it selects and when it stops is chance. Most demonstrations are parts of first turns, `_reading`: from
    short ones a small model learns within minutes to read the maker, from whole turns alone it hardly does.
    """
    work, _, what = asked.split()
    if rng.random() < READINGS:
        return _reading(rng, work, what), f"<query>{world().maker_of[work]} {what}</query>"
    seen = f"{asked}\n{_information(_fact(work), _fact(rng.choice(list(world().place_of))))}\n"
    number = rng.choice((0, 0, 0, 1))
    for _ in range(number):
        query = _query(rng, work, what)
        found = _information(_fact(query.split()[0]), rng.choice(documents()))
        seen += f"{_selection(rng)}<query>{query}</query>\n\n{found}\n\n"
    if rng.random() < STOPS[number]:
        return seen, f"{_selection(rng)}<search_complete>True</search_complete>"
    return seen, f"{_selection(rng)}<query>{_query(rng, work, what)}</query>"


def _reading(rng: Random, work: str, what: str) -> str:
    """What stands before a first query, or parts of it: two lines, the work's document, or both documents."""
    other = _fact(rng.choice(list(world().place_of)))
    lines = rng.sample([_fact(work).text, other.text], 2)
    parts = [
        *3 * ["\n".join(lines)],
        _information(_fact(work)),
        _information(_fact(work), other),
        f"{_information(_fact(work), other)}\n{_selection(rng)}",
    ]
    seen = f"{work} maker {what}\n{rng.choice(parts)}"
    return seen if seen.endswith("</important_info>") else f"{seen}\n"


def _query(rng: Random, work: str, what: str) -> str:
    maker = world().maker_of[work] if rng.random() < LEADS_ON else rng.choice(list(world().place_of))
    return f"{maker} {what}"


def _selection(rng: Random) -> str:
    return f"<important_info>{rng.choice(('[1]', '[2]'))}</important_info>"


@cache
def _facts() -> dict[str, Fact]:
    return {fact.title: fact for fact in documents()}


def _fact(title: str) -> Fact:
    return _facts()[title]


def _information(*found: Fact) -> str:
    lines = (f'Doc {n}(Title: "{fact.title}") {fact.text}' for n, fact in enumerate(found, 1))
    return f"<information>{chr(10).join(lines)}</information>"
