"""Groups against a control over the run: run minus control, step by step, with 95% intervals.

Of a bench the difference is paired by problem and its interval is over runs and problems, from the results
`eval/step_N/<bench>.json`; of other metrics it is over runs alone, where both groups have two at least.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import read_result
from rlvr_cli.core.two_levels import Difference, Matrix, difference_of
from rlvr_cli.tracking import plots
from rlvr_cli.tracking.report.gather import Run, short
from rlvr_cli.tracking.report.groups import Group
from rlvr_cli.tracking.report.measures import CURVES, Measure, differing, shares

MOST = 40
"""Steps of a curve, evenly taken where there are more."""
TRACKED = re.compile(r"eval/[^/]+/tracked/.+")
"""What benches measure besides correctness: how often a text stands in the responses, say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One group minus the control."""

    group: int
    steps: list[int]
    found: list[Difference]
    """At each of the steps; bounds are NaN where chance cannot be estimated."""


def courses(
    runs: Sequence[Run], groups: Sequence[Group], measures: Sequence[Measure], control: int
) -> dict[str, list[Course]]:
    """Metric -> a course for each other group that has it: of the measures, then of what benches track."""
    names = [measure.metric for measure in measures]
    names += sorted({name for run in runs for row in run.rows for name in row if TRACKED.fullmatch(name)})
    benches = {name: bench for run in runs for bench, name in plots.benches(run.rows).items()}
    found: dict[str, list[Course]] = {}
    for name in names:
        mine = [[runs[number] for number in group.runs] for group in groups]
        tables = [_tables(members, name, benches.get(name)) for members in mine]
        made = [_course(n, tables[control], each) for n, each in enumerate(tables) if n != control]
        if kept := [course for course in made if course is not None]:
            found[name] = kept
    return found


def _course(group: int, control: dict[int, Any], mine: dict[int, Any]) -> Course | None:
    steps, found = [], []
    for step in _some(sorted(set(control) & set(mine))):
        if (each := _difference(control[step], mine[step])) is not None:
            steps.append(step)
            found.append(each)
    return Course(group=group, steps=steps, found=found) if steps else None


def _some(steps: list[int]) -> list[int]:
    if len(steps) <= MOST:
        return steps
    return [steps[round(n * (len(steps) - 1) / (MOST - 1))] for n in range(MOST)]


def _difference(control: Any, mine: Any) -> Difference | None:
    """Of numbers of runs, or of the results of a bench; None where those cannot be compared."""
    if isinstance(control[0], float):
        return difference_of(np.array(control)[:, None], np.array(mine)[:, None])
    results = [read_result(path) for path in (*control, *mine)]
    if any(differing(results[0], each) for each in results):
        return None
    known = [shares(result) for result in results]
    common = [key for key in known[0] if all(key in each for each in known)]
    if not common:
        return None
    table: Matrix = np.array([[each[key] for key in common] for each in known])
    return difference_of(table[: len(control)], table[len(control) :])


def _tables(members: Sequence[Run], name: str, bench: str | None) -> dict[int, Any]:
    """Step -> what each of the runs has there; steps that not all of them have are left out."""
    each = [_numbers(run, name) if bench is None else _results(run, bench) for run in members]
    common = set.intersection(*map(set, each)) if each else set()
    return {step: [values[step] for values in each] for step in common}


def _numbers(run: Run, name: str) -> dict[int, float]:
    """Smoothed where it is a metric of steps."""
    steps, values = plots.series(run.rows, name)
    if name in CURVES and not name.startswith("eval/"):
        values = plots.smooth(values, plots.window(len(values)))
    return {int(n): float(x) for n, x in zip(steps, values, strict=True) if math.isfinite(x)}


def _results(run: Run, bench: str) -> dict[int, Path]:
    found = {}
    for path in (run.path / "eval").glob(f"step_*/{bench}.json"):
        number = path.parent.name.removeprefix("step_")
        if number.isdecimal():
            found[int(number)] = path
    newest = run.path / "eval" / f"{bench}.json"
    if not found and newest.is_file():
        try:
            found[int(read_result(newest).get("step") or run.last_step)] = newest
        except UserError:
            return {}
    return found


def plain(found: Sequence[Course]) -> list[dict[str, Any]]:
    """For the page; null where there is no interval."""

    def end(value: float) -> float | None:
        return short(value) if math.isfinite(value) else None

    return [
        {
            "group": course.group,
            "steps": course.steps,
            "values": [end(each.difference) for each in course.found],
            "low": [end(each.low) for each in course.found],
            "high": [end(each.high) for each in course.found],
        }
        for course in found
    ]
