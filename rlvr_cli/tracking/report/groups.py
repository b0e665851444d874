"""Runs that differ in nothing but their seed, taken together: `--group-by`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.short_names import short_keys, text_of
from rlvr_cli.tracking.report.gather import HIDDEN, Run

SEED = "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    name: str
    """`lr=1e-6`"""
    values: dict[str, Any]
    runs: list[int]
    """Their places in the report."""


def group(runs: Sequence[Run], keys: Sequence[str]) -> list[Group]:
    """In the order of the first run of each, numbers by size; UserError where no run has such a key."""
    full = [_full_key(runs, key) for key in keys]
    short = short_keys(full)
    found: dict[tuple[str, ...], Group] = {}
    for number, run in enumerate(runs):
        values = {key: run.recipe.get(key) for key in full}
        texts = tuple(text_of(value) for value in values.values())
        name = ", ".join(f"{short[key]}={text}" for key, text in zip(full, texts, strict=True))
        found.setdefault(texts, Group(name=name, values=values, runs=[])).runs.append(number)
    groups = list(found.values())
    if all(isinstance(value, int | float) for each in groups for value in each.values.values()):
        groups.sort(key=lambda each: tuple(each.values.values()))
    return groups


def control_of(groups: Sequence[Group], given: str) -> int:
    """The place of the group called so, by its name or one of its values; UserError where it is not one."""
    found = [
        number
        for number, each in enumerate(groups)
        if given == each.name or given in map(text_of, each.values.values())
    ]
    if len(found) != 1:
        names = [each.name for each in groups]
        what = "no group is" if not found else f"{len(found)} groups are"
        raise UserError(f"--control: {what} called '{given}'{hint(given, names)}")
    return found[0]


def _full_key(runs: Sequence[Run], key: str) -> str:
    """`algorithm` is `algorithm.name`, as one writes it in a sweep."""
    known = {name for run in runs for name in run.recipe}
    spelled = key.lstrip("+").replace("/", ".")
    for name in (spelled, f"{spelled}.name", f"{spelled}.path"):
        if name in known:
            return name
    raise UserError(
        f"--group-by: no run has a key '{key}'{hint(key, known) if len(known) < 20 else _near(key, known)}"
    )


def _near(key: str, known: set[str]) -> str:
    """All keys of a recipe are too many to list."""
    near = hint(key, known)
    return near if "did you mean" in near else "; rlvr report RUN shows what differs between runs"


def doubts(runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    """What makes runs of a group something else than repeats with another seed, a line each."""
    lines: list[str] = []
    others: dict[str, None] = {}
    twice: list[str] = []
    ends: set[int] = set()
    grouped = set(groups[0].values) if groups else set()
    for each in groups:
        mine = [runs[number] for number in each.runs]
        ends |= {run.last_step for run in mine}
        for key in dict.fromkeys(key for run in mine for key in run.recipe):
            differs = any(run.recipe.get(key) != mine[0].recipe.get(key) for run in mine)
            if differs and key not in (*HIDDEN, SEED) and key not in grouped:
                others[key] = None
        seeds = [run.recipe.get(SEED) for run in mine]
        twice += [each.name] if len(set(map(str, seeds))) < len(seeds) else []
    if others:
        shown = ", ".join(list(others)[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        lines.append(f"within groups there differ besides the seed: {shown}")
    if twice and not others:
        lines.append(f"the same seed more than once, so no repeats of their own: {', '.join(twice)}")
    if len(ends) > 1:
        lines.append(f"the runs end at different steps, {min(ends)} to {max(ends)}")
    alone = [each.name for each in groups if len(each.runs) == 1]
    if alone:
        lines.append(f"one run alone says nothing about chance between seeds: {', '.join(alone)}")
    return lines
