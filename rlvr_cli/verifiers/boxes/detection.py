"""The parts that a detection's reward is mixed of (V-Triune, 2505.18129), each in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlvr_cli.verifiers.boxes.average_precision import average_precisions
from rlvr_cli.verifiers.boxes.matching import (
    Labelled,
    Match,
    Overlaps,
    Tally,
    iou_first,
    label_first,
    overlaps,
    published_iou_first,
    tally,
)

NONE = {"mean_iou": 0.0, "map": 0.0, "map50": 0.0, "map75": 0.0}
"""`Verdict.more` of a response without boxes."""
REPORTED = (0.5, 0.95, 0.99)
"""IoUs at which precision and recall are reported."""
Matching = Callable[[Sequence[Labelled], Sequence[Labelled], Overlaps, float], list[Match]]


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the parts in the score, over their sum; and in the two of IoU that of completeness."""

    iou_first: float
    label_first: float
    map: float
    map50: float
    map75: float
    completeness: float


@dataclass(frozen=True, slots=True)
class Detected:
    """What predictions earn."""

    score: float
    parts: dict[str, float]
    """Before the size penalty: iou_first, label_first, map, map50, map75."""
    measures: dict[str, float]
    """`Verdict.more`: mean_iou, precision and recall at REPORTED, by iou-first matching; the three maps."""


def detected(
    predicted: Sequence[Labelled],
    gold: Sequence[Labelled],
    thresholds: Sequence[float],
    weights: Weights,
    size_penalty: float,
    published: bool = False,
) -> Detected:
    """`gold` must not be empty. The two parts of IoU are means over `thresholds`.

    `published`: iou-first as V-Triune's code runs (matching.published_iou_first).
    """
    found = overlaps(predicted, gold)
    first: Matching = published_iou_first if published else iou_first

    def at(match: Matching, threshold: float) -> Tally:
        return tally(match(predicted, gold, found, threshold), len(predicted), len(gold))

    def part(match: Matching) -> float:
        return sum(at(match, each).score(weights.completeness) for each in thresholds) / len(thresholds)

    precisions = average_precisions(predicted, gold, found)
    parts = {
        "iou_first": part(first) if weights.iou_first else 0.0,
        "label_first": part(label_first) if weights.label_first else 0.0,
        "map": sum(precisions) / len(precisions),
        "map50": precisions[0],
        "map75": precisions[5],
    }
    total = sum(getattr(weights, name) for name in parts)
    mixed = sum(getattr(weights, name) * value for name, value in parts.items()) / total if total else 0.0
    tallies = {round(100 * threshold): at(first, threshold) for threshold in REPORTED}
    measures = {"mean_iou": tallies[50].mean_iou}
    for percent, each in tallies.items():
        measures |= {f"precision_{percent}": each.precision, f"recall_{percent}": each.recall}
    measures |= {name: parts[name] for name in ("map", "map50", "map75")}
    penalty = size_penalty ** abs(len(predicted) - len(gold))
    return Detected(score=min(1.0, max(0.0, mixed * penalty)), parts=parts, measures=measures)
