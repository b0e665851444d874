"""One number of a trace from its confidences, and how well such numbers tell right from wrong. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlvr_cli.schema import TraceScore


def trace_score(confidences: Sequence[float], kind: TraceScore, window: int) -> float:
    """final: the last probe; mean: of the last `window` probes; min: the least mean of any `window` probes in
    a row. Of a trace without a probe .5: nothing is known of it."""
    if not len(confidences):
        return 0.5
    c = np.asarray(confidences, np.float64)
    if kind is TraceScore.final:
        return float(c[-1])
    if kind is TraceScore.mean:
        return float(c[-window:].mean())
    size = min(window, len(c))
    sums = np.concatenate([[0.0], c.cumsum()])
    return float((sums[size:] - sums[:-size]).min() / size)


def auroc(right: Sequence[float], wrong: Sequence[float]) -> float | None:
    """Chance that a right trace scores above a wrong one, ties half; None where either kind is missing."""
    if not len(right) or not len(wrong):
        return None
    ordered = np.sort(np.asarray(wrong, np.float64))
    r = np.asarray(right, np.float64)
    below, up_to = (np.searchsorted(ordered, r, side=side) for side in ("left", "right"))
    return float((below + up_to).sum() / (2 * len(r) * len(ordered)))
