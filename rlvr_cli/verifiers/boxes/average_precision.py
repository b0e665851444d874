"""COCO's average precision of the boxes of one image: 101 points of recall, at most 100 boxes a class.

The evaluator's own logic (pycocotools' `COCOeval`, area range all, no crowds) for the case that a reward has:
one image, every confidence 1. Then the order of the list is the ranking. THRESHOLDS
are decimals: sums of 0.05 miss an IoU of 17/20.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from rlvr_cli.verifiers.boxes.matching import Labelled, Overlaps

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
RECALLS = tuple(n / 100 for n in range(101))
MOST = 100
"""Boxes of a class that are looked at."""


def average_precisions(
    predicted: Sequence[Labelled], gold: Sequence[Labelled], overlaps: Overlaps
) -> list[float]:
    """By threshold of THRESHOLDS, each the mean over the gold's classes. `overlaps`: those of the two.

    Without gold boxes there are no classes: 1 where nothing is predicted either, else 0.
    """
    if not gold:
        return [0.0 if predicted else 1.0] * len(THRESHOLDS)
    totals = [0.0] * len(THRESHOLDS)
    classes = {each.label for each in gold}
    for label in classes:
        golds = [j for j, each in enumerate(gold) if each.label == label]
        ranked = [i for i, each in enumerate(predicted) if each.label == label][:MOST]
        found = [[overlaps[i][j] for j in golds] for i in ranked]
        for n, threshold in enumerate(THRESHOLDS):
            totals[n] += _average_precision(_hits(found, len(golds), threshold), len(golds))
    return [total / len(classes) for total in totals]


def _hits(found: list[list[float]], golds: int, threshold: float) -> list[bool]:
    """By rank: each prediction takes the free gold box that it overlaps most, of equals the last."""
    free, hits = set(range(golds)), []
    for overlaps in found:
        best = max(free, key=lambda j: (overlaps[j], j), default=None)
        hit = best is not None and overlaps[best] >= min(threshold, 1 - 1e-10)
        if hit and best is not None:
            free.remove(best)
        hits.append(hit)
    return hits


def _average_precision(hits: list[bool], golds: int) -> float:
    recalls, precisions, right = [], [], 0
    for n, hit in enumerate(hits, 1):
        right += hit
        recalls.append(right / golds)
        precisions.append(right / n)
    for n in range(len(precisions) - 1, 0, -1):  # precision as the best that any longer list still has
        precisions[n - 1] = max(precisions[n - 1], precisions[n])
    total = 0.0
    for wanted in RECALLS:
        at = bisect_left(recalls, wanted)
        total += precisions[at] if at < len(precisions) else 0.0
    return total / len(RECALLS)
