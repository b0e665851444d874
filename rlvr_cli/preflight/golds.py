"""Golds that belong to another row, as of a file that was joined or sorted without its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rlvr_cli.core.types import Group, Problem
from rlvr_cli.data.golds import last_boxed

OFFSETS = (-3, -2, -1, 1, 2, 3)
"""Rows around a problem whose golds are looked at. Two of them shift; the others say what chance does."""
FEWEST = 6
"""Prompts that must be answered by the gold of one and the same neighbour."""
SHARE = 0.15
"""The same, of all prompts: near misses are a neighbour's gold by chance."""
TIMES = 4
"""As many as are answered by their own gold, or by that of any other neighbour."""

Near = Callable[[Problem], Mapping[int, frozenset[str]]]
"""problem -> offset -> golds of the row there, as far as they are not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The golds of a source stand so many rows off."""

    offset: int
    """Rows from a problem to its gold."""
    prompts: int
    """Prompts of which a response is the gold there."""
    own: int
    """Prompts of which a response is right."""
    of: int


def neighbours(items: Mapping[str, Sequence[Problem]]) -> Near:
    """Of the problems of each source in the order of its rows."""
    places = {name: {problem.id: n for n, problem in enumerate(found)} for name, found in items.items()}

    def near(problem: Problem) -> dict[int, frozenset[str]]:
        rows = items.get(problem.source, ())
        here = places.get(problem.source, {}).get(problem.id)
        if here is None:
            return {}
        own = _plain(problem.golds)
        return {
            offset: _plain(rows[here + offset].golds) - own
            for offset in OFFSETS
            if 0 <= here + offset < len(rows)
        }

    return near


def answered(group: Group, near: Near) -> list[int]:
    """Offsets whose gold is the answer that is read in any response of the group."""
    first = group.problem.verifiers[0]
    read = _plain([v[first].extracted or "" for v in group.verdicts]) - {""}
    return [offset for offset, golds in near(group.problem).items() if read & golds]


def shift_of(answers: Sequence[Sequence[int]], right: Sequence[bool]) -> Shift | None:
    """Of the prompts of a source: offsets of each (`answered`), and whether any of its responses is right.

    None: its golds are where they belong, or the model solves too little to say.
    """
    counts = {offset: sum(offset in found for found in answers) for offset in OFFSETS}
    best = max(counts, key=counts.__getitem__)
    own = sum(right)
    chance = max(count for offset, count in counts.items() if offset != best)
    if counts[best] < max(FEWEST, SHARE * len(answers), TIMES * own, TIMES * chance):
        return None
    return Shift(offset=best, prompts=counts[best], own=own, of=len(answers))


def _plain(texts: Sequence[str]) -> frozenset[str]:
    """Of worked solutions what they end with."""
    return frozenset((last_boxed(text) or text).strip().casefold() for text in texts)
