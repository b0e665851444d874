"""The mean of several runs' curves, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlvr_cli.tracking import plots
from rlvr_cli.tracking.plots import Floats
from rlvr_cli.tracking.report.gather import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Over runs, step by step; the lowest and the highest of them are its edges."""

    steps: Floats
    mean: Floats
    low: Floats
    high: Floats
    runs: int


def band(runs: Sequence[Run], name: str, *, smoothed: bool = True) -> Band | None:
    """Of a metric at the steps that all runs which recorded it have; None: no run has."""
    series = [plots.series(run.rows, name) for run in runs]
    series = [(steps, values) for steps, values in series if len(steps)]
    if not series:
        return None
    if smoothed:
        series = [(steps, plots.smooth(values, plots.window(len(values)))) for steps, values in series]
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in series)))
    at = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in series]
    table = np.array([[each[step] for step in common] for each in at], dtype=float).reshape(len(at), -1)
    return Band(
        steps=np.array(common, dtype=float),
        mean=table.mean(0),
        low=table.min(0),
        high=table.max(0),
        runs=len(at),
    )
