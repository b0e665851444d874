"""Which parts of an update make its gradient large: a search that asks for the norms it needs.

GradLoc (Tencent Hunyuan, 2026): the mean of the gradients of n ordinary tokens shrinks like 1 / sqrt(n), so a
segment is suspicious above spike / sqrt(n). Halving suspicious segments finds a token in 2 log2(n) probes.

A search is a generator: it yields a segment, is sent the norm of the segment's mean gradient, and returns
what it has found. Whoever drives it decides how a gradient is computed; under ZeRO all ranks do so in step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple

LARGEST = math.sqrt(3.4028234e38)
"""A gradient norm above this has a square that fp32, in which Adam keeps it, cannot hold."""


class Segment(NamedTuple):
    """Trained tokens `first` to `last` (exclusive) of these sequences of the batch, laid end to end."""

    sequences: tuple[int, ...]
    first: int
    last: int


class Found(NamedTuple):
    """A segment above its limit with no half above theirs; a single token, if one is responsible."""

    segment: Segment
    norm: float
    limit: float


@dataclass
class Budget:
    """Probes left; shared by the halvings of one search."""

    left: int


def threshold(spike: float, tokens: float) -> float:
    """Largest ordinary norm of the mean gradient of so many tokens."""
    return spike / math.sqrt(max(tokens, 1.0))


def above(norm: float, limit: float) -> bool:
    """Also where the norm is NaN."""
    return not norm <= limit


def halve(
    size: int, limit: Callable[[int, int], float], budget: Budget
) -> Generator[tuple[int, int], float, list[tuple[int, float]]]:
    """Items of range(size) above their limit, with their norms: depth first, the larger half first.

    Yields ranges [first, last). The range of all items is taken to be above its limit and is not asked for,
    unless it is a single one. Two probes a range; stops when fewer are left. Misses items that cancel
    each other in every range that holds both.
    """
    if size == 1:
        budget.left -= 1
        norm = yield 0, 1
        return [(0, norm)] if above(norm, limit(0, 1)) else []
    found, stack = [], [(0, size)] if size else []
    while stack and budget.left >= 2:
        first, last = stack.pop()
        middle = (first + last - 1) // 2 + 1
        norms = {}
        for half in ((first, middle), (middle, last)):
            budget.left -= 1
            norms[half] = yield half
        suspicious = [half for half in norms if above(norms[half], limit(*half))]
        for half in sorted(suspicious, key=lambda h: math.inf if math.isnan(norms[h]) else norms[h]):
            if half[1] - half[0] == 1:
                found.append((half[0], norms[half]))
            else:
                stack.append(half)
    return sorted(found)


def culprits(
    micro_batches: list[list[int]],
    counts: list[int],
    limit: Callable[[Segment], float],
    budget: int,
) -> Generator[Segment, float, list[Found]]:
    """Suspicious micro-batches, in them sequences, in these tokens; the worst micro-batch first.

    counts: trained tokens of each sequence of the batch. One probe for each micro-batch, and `budget` more.
    """
    scanned = []
    for sequences in micro_batches:
        whole = Segment(tuple(sequences), 0, sum(counts[b] for b in sequences))
        if whole.last:
            norm = yield whole
            if above(norm, limit(whole)):
                scanned.append(Found(whole, norm, limit(whole)))
    left, found = Budget(budget), []
    for suspect in sorted(scanned, key=lambda f: -math.inf if math.isnan(f.norm) else -f.norm):
        found += yield from _inside(suspect, counts, limit, left)
    return found


def _inside(
    whole: Found, counts: list[int], limit: Callable[[Segment], float], budget: Budget
) -> Generator[Segment, float, list[Found]]:
    sequences = whole.segment.sequences

    def of(first: int, last: int) -> Segment:
        chosen = sequences[first:last]
        return Segment(chosen, 0, sum(counts[b] for b in chosen))

    samples = yield from _mapped(halve(len(sequences), lambda *r: limit(of(*r)), budget), of)
    found = []
    for place, norm in samples:
        b = sequences[place]

        def tokens(first: int, last: int, b: int = b) -> Segment:
            return Segment((b,), first, last)

        hits = yield from _mapped(halve(counts[b], lambda *r: limit(tokens(*r)), budget), tokens)
        one = tokens(0, counts[b])
        found += [Found(tokens(t, t + 1), n, limit(tokens(t, t + 1))) for t, n in hits] or [
            Found(one, norm, limit(one))
        ]
    return found or [whole]


def _mapped(
    search: Generator[tuple[int, int], float, list[tuple[int, float]]],
    segment: Callable[[int, int], Segment],
) -> Generator[Segment, float, list[tuple[int, float]]]:
    """The same search in other words."""
    try:
        wanted = next(search)
        while True:
            wanted = search.send((yield segment(*wanted)))
    except StopIteration as end:
        found: list[tuple[int, float]] = end.value
        return found
