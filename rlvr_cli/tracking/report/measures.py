"""What groups of runs reach: means with intervals over seeds and problems, and every two of them compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli.core.result_files import differences, read_result, share_right
from rlvr_cli.core.two_levels import Difference, Estimate, Matrix, difference_of, holm, mean_of
from rlvr_cli.tracking import plots
from rlvr_cli.tracking.report.gather import Run
from rlvr_cli.tracking.report.groups import Group

CHANCE = 0.05
LOWER = ("train/loss", "eval/loss")
"""Metrics of which less is better."""
CURVES = ("reward/mean", "train/loss", "eval/loss")
"""Metrics of the steps that are compared too: the mean of each run's last tenth, over seeds alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The group `b` minus the group `a`, by their places."""

    a: int
    b: int
    found: Difference
    adjusted: float
    """The p-value, adjusted for the number of pairs (Holm)."""


@dataclass(slots=True, kw_only=True)
class Measure:
    metric: str
    share: bool
    """A share of problems, which is shown in percent."""
    problems: int | None
    """None: it is over runs alone."""
    each: list[list[float]]
    """Group -> the mean of each of its runs."""
    means: list[Estimate | None]
    """None: no run of the group has it."""
    pairs: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def lead(self) -> int | None:
        """The group with the best mean."""
        known = [number for number, each in enumerate(self.means) if each is not None]
        sign = -1 if self.metric in LOWER else 1
        return max(known, key=lambda n: sign * self.means[n].mean, default=None)  # type: ignore[union-attr]

    @property
    def near(self) -> list[int]:
        """Groups that the lead is not ahead of by more than chance between seeds and problems."""
        lead = self.lead
        mine = [pair for pair in self.pairs if lead in (pair.a, pair.b)]
        unsure = [pair for pair in mine if pair.adjusted >= CHANCE or not pair.found.seeds]
        return [pair.a if pair.b == lead else pair.b for pair in unsure]

    @property
    def best(self) -> int | None:
        """The lead, where it is ahead of every other group by more than chance."""
        return self.lead if self.pairs and not self.near else None


def measures(runs: Sequence[Run], groups: Sequence[Group]) -> list[Measure]:
    """Of every bench whose results lie in the runs' `eval/`, then of what the steps recorded."""
    benches = dict.fromkeys(bench for run in runs for bench in plots.benches(run.rows))
    found = [each for bench in benches if (each := _of_bench(runs, groups, bench)) is not None]
    return found + [each for name in CURVES if (each := _of_steps(runs, groups, name)) is not None]


def _of_bench(runs: Sequence[Run], groups: Sequence[Group], bench: str) -> Measure | None:
    paths = [_path(run, bench) for run in runs]
    results = [None if path is None else read_result(path) for path in paths]
    known = [result for result in results if result is not None]
    if not known:
        return None
    name = next(name for run in runs for each, name in plots.benches(run.rows).items() if each == bench)
    unlike = next((found for each in known if (found := differing(known[0], each))), [])
    if unlike:
        note = f"{bench}: the results differ in {', '.join(unlike)}, and are not compared"
        return _nothing(name, len(groups), [note])
    known_shares = [None if result is None else shares(result) for result in results]
    tables = [each for each in known_shares if each is not None]
    common = [key for key in tables[0] if all(key in each for each in tables)]
    largest = max(len(result["problems"]) for result in known)
    notes = []
    if len(known) < len(runs):
        notes.append(
            f"{bench}: {len(runs) - len(known)} of {len(runs)} runs have no result, and are left out"
        )
    if len(common) < largest:
        notes.append(f"{bench}: over the {len(common)} of {largest} problems that all runs have verdicts for")
    if len(steps := {result.get("step") for result in known}) > 1:
        notes.append(
            f"{bench}: the results are of different steps: {', '.join(map(str, sorted(steps, key=str)))}"
        )
    if not common:
        return _nothing(name, len(groups), notes)
    rows = [None if each is None else [each[key] for key in common] for each in known_shares]
    measure = _measure(name, rows, groups, problems=len(common))
    measure.notes = notes
    return measure


def _path(run: Run, bench: str) -> Path | None:
    path = run.path / "eval" / f"{bench}.json"
    return path if path.is_file() else None


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Of how the results were made; which problems have verdicts may differ."""
    return [each for each in differences(a, b) if not each.startswith("problems (")]


def shares(result: dict[str, Any]) -> dict[str, float]:
    found = ((row["id"], share_right(row)) for row in result["problems"])
    return {key: share for key, share in found if share is not None}


def _of_steps(runs: Sequence[Run], groups: Sequence[Group], name: str) -> Measure | None:
    ends = [last_tenth(run, name) for run in runs]
    if all(end is None for end in ends):
        return None
    found = _measure(name, [None if end is None else [end] for end in ends], groups, problems=None)
    missing = ends.count(None)
    if missing:
        found.notes.append(f"{name}: {missing} of {len(runs)} runs have not recorded it, and are left out")
    return found


def last_tenth(run: Run, name: str) -> float | None:
    """Mean over the last tenth of the steps that have it."""
    values = [row[name] for row in run.rows if row.get(name) is not None]
    return float(np.mean(values[-max(len(values) // 10, 1) :])) if values else None


def _nothing(metric: str, groups: int, notes: list[str]) -> Measure:
    """A share that cannot be compared, and why."""
    return Measure(
        metric=metric,
        share=True,
        problems=0,
        each=[[] for _ in range(groups)],
        means=[None] * groups,
        notes=notes,
    )


def _measure(
    name: str, rows: Sequence[list[float] | None], groups: Sequence[Group], problems: int | None
) -> Measure:
    share = problems is not None
    tables: list[Matrix | None] = []
    for each in groups:
        mine = [row for number in each.runs if (row := rows[number]) is not None]
        tables.append(np.array(mine) if mine else None)
    bounds = {"bounds": (0.0, 1.0)} if share else {}
    found = Measure(
        metric=name,
        share=share,
        problems=problems,
        each=[[] if table is None else table.mean(1).tolist() for table in tables],
        means=[None if table is None else mean_of(table, **bounds) for table in tables],
    )
    compared = []
    for a, b in combinations(range(len(groups)), 2):
        first, second = tables[a], tables[b]
        if first is None or second is None or (not share and min(len(first), len(second)) < 2):
            continue  # of two single numbers nothing can be said
        compared.append((a, b, difference_of(first, second)))
    adjusted = holm([each.p_value for _, _, each in compared])
    found.pairs = [
        Pair(a=a, b=b, found=each, adjusted=p) for (a, b, each), p in zip(compared, adjusted, strict=True)
    ]
    return found
