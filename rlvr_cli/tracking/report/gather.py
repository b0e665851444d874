"""What a run directory holds, as the report shows it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json
from rlvr_cli.core.flatten import flatten
from rlvr_cli.core.lock_owner import in_use
from rlvr_cli.core.short_names import without_common_start
from rlvr_cli.core.yaml_bounds import check_yaml
from rlvr_cli.tracking.journal import read_rows
from rlvr_cli.tracking.records import record_steps
from rlvr_cli.tracking.report import experiences

POINTS = 2000
"""Points a curve keeps; a longer one is averaged in bins of equal length."""
EVENTS = 2000
"""Newest events that are kept."""
HIDDEN = ("name", "out")
"""Keys that differ between any two runs."""
Rows = list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Run:
    path: Path
    name: str
    kind: str
    """rl, sft, preference, eval or experience"""
    state: str
    recipe: dict[str, Any]
    """The resolved recipe, flat: `trainer.lr` -> 1e-6."""
    environment: dict[str, Any]
    rows: Rows
    events: Rows
    recorded: list[int]
    """Steps with rollouts."""
    library: dict[str, Any] | None = None
    """Experiences and history of a run that learns them."""

    @property
    def last_step(self) -> int:
        return max((row["step"] for row in self.rows), default=0)


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """UserError for what is no run directory or holds unreadable files."""
    paths = list(paths)
    names = _names([path.resolve() for path in paths])
    return [_read_run(path, name) for path, name in zip(paths, names, strict=True)]


def _names(paths: list[Path]) -> list[str]:
    """What tells the paths apart: their parts below the folder of them all, without a common start."""
    if len(paths) == 1:
        return [paths[0].name]
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return without_common_start([str(path.relative_to(common)) for path in paths])


def _read_run(path: Path, name: str) -> Run:
    recipe = _recipe(path / "recipe.yaml")
    rows, events = _rows(path / "metrics.jsonl"), _rows(path / "events.jsonl")
    kind = _kind(recipe, rows)
    return Run(
        path=path,
        name=name,
        kind=kind,
        state=_state(path, recipe, rows, kind),
        recipe=flatten(recipe) if recipe else {},
        environment=_environment(path / "environment.json"),
        rows=rows,
        events=events,
        recorded=record_steps(path),
        library=experiences.read(path) if kind == "experience" else None,
    )


def _rows(path: Path) -> Rows:
    try:
        rows = read_rows(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; mend or remove it") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise UserError(f"{path}, line {number} is no row of a run: it has no step; mend or remove it")
    return rows


def _recipe(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        recipe = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}; mend or remove it") from error
    if not isinstance(recipe, dict):
        raise UserError(f"{path} is no recipe: it holds no keys; mend or remove it")
    return recipe


def _environment(path: Path) -> dict[str, Any]:
    try:
        return dict(from_json(path.read_bytes())) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; mend or remove it") from error


def _kind(recipe: dict[str, Any], rows: Rows) -> str:
    if recipe:
        algorithm = recipe.get("algorithm") or {}
        compares = "preference" in algorithm or algorithm.get("name") == "reward_model"
        taught = "distillation" in algorithm and "advantage" not in algorithm
        copies = taught or algorithm.get("name") in ("sft", "otv")
        named = "sft" if copies else "preference" if compares else "rl"
        if algorithm.get("name") == "experience":
            return "experience"
        return "eval" if "benches" in recipe else named
    names = {name for row in rows for name in row}
    if "experience/size" in names:
        return "experience"
    if "reward/mean" in names:
        return "rl"
    return "preference" if "rewards/chosen" in names else "sft" if "train/loss" in names else "eval"


def _state(path: Path, recipe: dict[str, Any], rows: Rows, kind: str) -> str:
    if in_use(path / ".lock"):
        return "running"
    if kind == "eval":
        benches = {row.get("bench") for row in rows}
        return "finished" if benches >= set(recipe.get("benches") or {}) else "stopped"
    if kind == "experience":
        wanted = (recipe.get("algorithm") or {}).get("steps")
        return "finished" if wanted in {row["step"] for row in rows} else "stopped"
    return "finished" if (path / "final").is_dir() else "stopped"


def differences(runs: list[Run]) -> dict[str, list[Any]]:
    """Recipe keys whose values are not the same in all runs; None where a run has no such key."""
    keys = dict.fromkeys(key for run in runs for key in run.recipe)
    values = {key: [run.recipe.get(key) for run in runs] for key in keys if key not in HIDDEN}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def phases(rows: Rows) -> dict[str, float]:
    """Seconds of the whole run by phase, most first; `other` is what no phase was charged with."""
    total: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith("timing_s/") and value is not None:
                phase = name.removeprefix("timing_s/")
                total[phase] = total.get(phase, 0.0) + value
    steps = total.pop("step", None)
    if steps is not None and (rest := steps - sum(total.values())) > 0:
        total["other"] = rest
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def columns(rows: Rows) -> dict[str, Any]:
    """Metrics by column: {"grids": [steps, ...], "metrics": {name: {"grid": i, "values": [...]}}}.

    Past POINTS steps a point is the mean of a bin; `low` and `high` are then the bin's extremes, and its
    step is the middle one. Numbers keep 7 digits; null is a value that was not finite.
    """
    series: dict[str, list[tuple[int, float | None]]] = {}
    for row in rows:
        absent = row.get("nonfinite", [])
        for name, value in row.items():
            if name not in ("step", "time") and (isinstance(value, int | float) or name in absent):
                series.setdefault(name, []).append((row["step"], value))
    grids: dict[tuple[int, ...], int] = {}
    metrics = {}
    for name, points in series.items():
        steps, column = _thinned(points)
        metrics[name] = {"grid": grids.setdefault(steps, len(grids)), **column}
    return {"grids": [list(grid) for grid in grids], "metrics": metrics}


def _thinned(points: list[tuple[int, float | None]]) -> tuple[tuple[int, ...], dict[str, Any]]:
    if len(points) <= POINTS:
        return tuple(step for step, _ in points), {"values": [short(value) for _, value in points]}
    edges = [index * len(points) // POINTS for index in range(POINTS + 1)]
    bins = [points[a:b] for a, b in itertools.pairwise(edges)]
    known = [[value for _, value in each if value is not None] for each in bins]
    column = {
        "values": [short(sum(each) / len(each)) if each else None for each in known],
        "low": [short(min(each, default=None)) for each in known],
        "high": [short(max(each, default=None)) for each in known],
    }
    return tuple(each[len(each) // 2][0] for each in bins), column


def short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.7g}")
