"""Whether a reward still says what a second verifier says: the gap between the two, as a metric.

Gao, Schulman and Hilton (2022, 2210.10760): optimised long enough, a proxy goes on rising while the gold
reward falls. The two are on scales of their own, so each is measured from where the run began, in standard
deviations of the samples of then.
"""

from __future__ import annotations

import math
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group
from rlvr_cli.schema import Diagnosis
from rlvr_cli.training.second_verifier import audit_metrics

STATE = "audit_start"
"""Key of the run's state: what the samples of the first steps were like."""


def second_opinion(mine: list[Group], settings: Diagnosis, state: dict[str, Any]) -> dict[str, float]:
    """All metrics of `diagnosis.second_verifier`; all ranks must call it. `state` goes into checkpoints."""
    return audit_metrics(mine, settings) | gap_metrics(mine, settings, state)


def gap_metrics(mine: list[Group], settings: Diagnosis, state: dict[str, Any]) -> dict[str, float]:
    """Mean scores of the first and of the second verifier over samples that both have judged, and their gap.

    `audit/gap` = (first - first0) / std0(first) - (second - second0) / std0(second), with mean and standard
    deviation of the audited samples of the first `diagnosis.window` steps; absent in these, and where the
    scores of one did not vary in them. All ranks must call it; `state` goes into checkpoints.
    """
    if settings.second_verifier is None:
        return {}
    own = [
        (group.first_scores[sample], verdict.score)
        for group in mine
        for sample, verdict in group.audits.items()
        if verdict.scored and not math.isnan(group.correct[sample])
    ]
    both = [pair for share in distributed.gather(own) for pair in share]
    if not both:
        return {}
    first, second = (math.fsum(side) / len(both) for side in zip(*both, strict=True))
    found = {"audit/first_score": first, "audit/score": second}
    start = state.setdefault(STATE, {"steps": 0, "samples": 0, "sums": [0.0] * 4})
    if start["steps"] < settings.window:
        start["steps"] += 1
        start["samples"] += len(both)
        for a, b in both:
            start["sums"] = [x + y for x, y in zip(start["sums"], (a, a * a, b, b * b), strict=True)]
        return found
    sums, samples = start["sums"], start["samples"]
    risen, gained = (
        standardised(first, sums[0], sums[1], samples),
        standardised(second, sums[2], sums[3], samples),
    )
    return found if risen is None or gained is None else found | {"audit/gap": risen - gained}


def standardised(now: float, total: float, squares: float, count: int) -> float | None:
    """(now - mean) / std of `count` numbers with this sum and sum of squares; None where they do not vary."""
    mean = total / count
    variance = squares / count - mean * mean
    if variance <= 1e-12 * max(1.0, mean * mean):
        return None
    return (now - mean) / math.sqrt(variance)
