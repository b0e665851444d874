"""Likelihoods of answers along responses, as `rlvr inspect trajectories` leaves them beside the samples."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.tracking.journal import read_rows

Courses = dict[tuple[int, int], dict[str, Any]]
"""(index of the prompt, sample) -> row."""


def digest(response: str) -> str:
    """Tells whether a course is that of a response: a run that went on from a checkpoint may have another."""
    return hashlib.sha256(response.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def of_step(run: Path, step: int) -> Courses:
    return _read(run / "trajectories" / f"step_{step:06d}.jsonl")


def of_result(path: Path) -> Courses:
    return _read(path.with_suffix(".trajectories.jsonl"))


def _read(path: Path) -> Courses:
    """Empty where nothing was looked at."""
    try:
        rows = [row for row in read_rows(path) if "places" in row]
        return {(row["index"], row["sample"]): row for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error!r}; mend or remove it") from error


def shown(courses: Courses, index: int, sample: int, response: str) -> dict[str, Any]:
    """What the page draws of a sample: {course: {places, likely, thought, right}}; nothing without."""
    row = courses.get((index, sample))
    if row is None or row["digest"] != digest(response):
        return {}
    likely = [round(math.exp(-loss), 3) for loss in row["loss"]]
    return {"course": {name: row[name] for name in ("places", "thought", "right")} | {"likely": likely}}
