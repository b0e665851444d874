"""What an answer's likelihood does along a response: smoothed, by words, where it turns. No torch.

A course is L_k, in nats a token of the answer, at places k_0 < k_1 < ...: so many tokens of the response are
seen.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean, median

LEXICON = ("Wait", "Hmm", "Hold on", "Alternatively", "However", "But", "Since", "Therefore", "So")
"""Words whose effect is measured: RaML's (2505.19815), and what else turns a line of thought."""
HALF = 0.5
"""Likelihood of the answer from which the model counts as sure of it."""
END_OF_THOUGHT = ("</think>", "\\boxed{")
"""Where thinking ends: before the first of these that a response has, at its last place."""


@dataclass(kw_only=True)
class Course:
    """Of one sample."""

    places: list[int]
    losses: list[float]
    right: list[bool]
    """Greedy decoding, asked here, writes the answer and ends there."""
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Word of the lexicon -> places before and after each of its occurrences."""

    @property
    def confidences(self) -> list[float]:
        """exp(-L): geometric mean of the probabilities of the answer's tokens."""
        return [math.exp(-loss) for loss in self.losses]

    def at(self, place: int) -> int:
        """Index of a place that is measured."""
        return self.places.index(place)


def ema(values: Sequence[float], alpha: float, places: Sequence[int] | None = None) -> list[float]:
    """m = alpha x + (1 - alpha) m from m = x_0 on; alpha is per token, so a step over d tokens has
    1 - (1 - alpha)^d."""
    found: list[float] = []
    for number, value in enumerate(values):
        tokens = 1 if places is None or not number else places[number] - places[number - 1]
        share = 1 - (1 - alpha) ** tokens
        found.append(value if not found else share * value + (1 - share) * found[-1])
    return found


def effect(before: float, after: float) -> float | None:
    """|L_after - L_before| / L_before; None where L_before is 0 (2505.19815)."""
    return abs(after - before) / before if before else None


@dataclass(kw_only=True)
class Effect:
    """Of a word, over its occurrences."""

    count: int
    mean: float
    """Of |change| / L before. A few places where L was nearly 0 can make all of it: look at the median."""
    median: float
    change: float
    """Mean of L after minus L before: below 0 the answer becomes likelier."""


def effects(courses: Iterable[Course], every: int) -> dict[str, Effect]:
    """Word -> its effect; `all` is that of `every` tokens, whatever they are."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for each in courses:
        grid = [n for n, place in enumerate(each.places) if place % every == 0]
        pairs.setdefault("all", []).extend((each.losses[a], each.losses[b]) for a, b in pairwise(grid))
        for word, spans in each.spans.items():
            pairs.setdefault(word, []).extend(
                (each.losses[each.at(a)], each.losses[each.at(b)]) for a, b in spans
            )
    found = {}
    for word, seen in pairs.items():
        sizes = [size for a, b in seen if (size := effect(a, b)) is not None]
        if sizes:
            found[word] = Effect(
                count=len(seen), mean=fmean(sizes), median=median(sizes), change=fmean(b - a for a, b in seen)
            )
    return found


def occurrences(pieces: Sequence[str], word: str) -> list[tuple[int, int]]:
    """(tokens before, tokens up to its end) of each occurrence of a word, in upper and lower case as it is.

    `pieces`: the text of each token.
    """
    ends = list(accumulate(map(len, pieces)))
    edges = [r"(?<!\w)" if word[:1].isalnum() else "", r"(?!\w)" if word[-1:].isalnum() else ""]
    found = []
    for match in re.finditer(edges[0] + re.escape(word) + edges[1], "".join(pieces)):
        found.append((bisect_right(ends, match.start()), bisect_left(ends, match.end()) + 1))
    return found


def thought(pieces: Sequence[str], until: Sequence[str] = END_OF_THOUGHT) -> int:
    """Tokens before the end of the thinking; all of them where no end is marked."""
    text = "".join(pieces)
    for mark in until:
        if (at := text.rfind(mark)) >= 0:
            return bisect_right(list(accumulate(map(len, pieces))), at)
    return len(pieces)


def settled(course: Course) -> int | None:
    """First place from which the answer stays likelier than a half; None where it is not so at the end."""
    found = None
    for place, likely in zip(course.places, course.confidences, strict=True):
        found = None if likely < HALF else place if found is None else found
    return found


def turn(course: Course) -> tuple[int, int, float] | None:
    """(place before, place after, change) of the largest change of the likelihood between two places."""
    steps = list(pairwise(zip(course.places, course.confidences, strict=True)))
    if not steps:
        return None
    (a, before), (b, after) = max(steps, key=lambda step: abs(step[1][1] - step[0][1]))
    return a, b, after - before


def enough(course: Course) -> int | None:
    """First place from which greedy decoding, asked there, writes the answer at all later ones too."""
    found = None
    for place, right in zip(course.places, course.right, strict=True):
        found = None if not right else place if found is None else found
    return found
