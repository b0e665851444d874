"""One-to-one matching of predicted and gold boxes: V-Triune's two greedy ways (2505.18129), and its score.

Greedy is the published method and not the best assignment: of two predictions with IoU [[.667, .538], [.429,
.053]] it takes .667 and .053, where .538 and .429 would be more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rlvr_cli.verifiers.boxes.geometry import Box, iou


class Labelled(NamedTuple):
    box: Box
    label: str


class Match(NamedTuple):
    predicted: int
    gold: int
    overlap: float
    """Their IoU."""
    iou: float
    """What it counts for: 0 where the labels differ."""


Overlaps = list[list[float]]
"""[predicted][gold]: IoU"""


def overlaps(predicted: Sequence[Labelled], gold: Sequence[Labelled]) -> Overlaps:
    return [[iou(p.box, g.box) for g in gold] for p in predicted]


def iou_first(
    predicted: Sequence[Labelled], gold: Sequence[Labelled], found: Overlaps, threshold: float
) -> list[Match]:
    """Pairs by falling IoU, down to `threshold`; one with different labels is used up and counts 0.

    Among equal IoUs same labels come first, then what the boxes say: the order of the lists is of no account.
    """
    pairs = sorted(
        (-found[i][j], p.label != g.label, p, g, i, j)
        for i, p in enumerate(predicted)
        for j, g in enumerate(gold)
        if found[i][j] >= threshold
    )
    free_p, free_g = set(range(len(predicted))), set(range(len(gold)))
    matches = []
    for overlap, differ, _, _, i, j in pairs:
        if i in free_p and j in free_g:
            free_p.remove(i)
            free_g.remove(j)
            matches.append(Match(i, j, -overlap, 0.0 if differ else -overlap))
    return matches


def label_first(
    predicted: Sequence[Labelled], gold: Sequence[Labelled], found: Overlaps, threshold: float
) -> list[Match]:
    """Each gold box in its order takes the best free prediction of its label, from `threshold` on.

    The order of the gold boxes counts, that of the predictions does not.
    """
    free: dict[str, set[int]] = {}
    for i, p in enumerate(predicted):
        free.setdefault(p.label, set()).add(i)
    matches = []
    for j, g in enumerate(gold):
        left = free.get(g.label, set())
        best = min(left, key=lambda i: (-found[i][j], predicted[i].box, i), default=None)
        if best is not None and found[best][j] >= threshold:
            left.remove(best)
            matches.append(Match(best, j, found[best][j], found[best][j]))
    return matches


def published_iou_first(
    predicted: Sequence[Labelled], gold: Sequence[Labelled], found: Overlaps, threshold: float
) -> list[Match]:
    """V-Triune's iou-first as its code runs: the loops' own variables hold the pair that is removed.

    The best overlap of the free pairs is scored, by the labels of the last free pair; that one is used up.
    """
    free_p, free_g = list(range(len(predicted))), list(range(len(gold)))
    matches = []
    while free_p and free_g:
        best = max(found[i][j] for i in free_p for j in free_g)
        if best < threshold:
            break
        i, j = free_p.pop(), free_g.pop()
        matches.append(Match(i, j, best, best if predicted[i].label == gold[j].label else 0.0))
    return matches


@dataclass(frozen=True, slots=True)
class Tally:
    """What a matching comes to."""

    mean_iou: float
    """Sum of what matches count for, over gold boxes."""
    recall: float
    precision: float

    @property
    def completeness(self) -> float:
        """1 less the mean of the shares of gold boxes missed and of predictions that are false alarms."""
        return 1 - ((1 - self.recall) + (1 - self.precision)) / 2

    def score(self, completeness: float) -> float:
        """`completeness`: its weight, beside the mean IoU's."""
        return self.mean_iou * (1 - completeness) + self.completeness * completeness


def tally(matches: Sequence[Match], predicted: int, gold: int) -> Tally:
    """`gold` must be above 0. Without predictions there are no false alarms."""
    return Tally(
        mean_iou=sum(match.iou for match in matches) / gold,
        recall=len(matches) / gold,
        precision=len(matches) / predicted if predicted else 1.0,
    )
