"""Worked examples before a problem: rows of a benchmark's few-shot split, question and `reference`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.folders import SUFFIXES
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.sources import normalised

Row = dict[str, Any]
Shots = list[tuple[str, str]]
"""(question, worked answer)"""


def examples(name: str, source: schema.Source, seed: int) -> Callable[[Row], Shots]:
    """Row -> its examples: the first `source.shots` of the split, of the row's subject where there are any.

    UserError where the split has too few, or rows without a worked answer.
    """
    if source.shots < 1:
        return lambda row: []
    place = f"{name}: source.shots"
    by_subject: dict[Any, Shots] = {}
    for row in normalised(_place(source, place), seed, PROBLEMS):
        if not (worked := row["extra"].get("reference")):
            raise UserError(f"{place}: the examples have no worked answers; set shots to 0")
        by_subject.setdefault(row["extra"].get("subject"), []).append((row["prompt"], worked))

    def of(row: Row) -> Shots:
        subject = row["extra"].get("subject")
        found = [shot for shot in by_subject.get(subject, []) if shot[0] != row["prompt"]]
        if len(found) < source.shots:
            about = f" about '{subject}'" if subject is not None else ""
            raise UserError(
                f"{place} is {source.shots}, and there are {len(found)} examples{about}; lower it"
            )
        return found[: source.shots]

    return of


def _place(source: schema.Source, place: str) -> schema.Source:
    """The source of the examples: another split, or a file."""
    given = source.shots_split
    if given is None:
        raise UserError(f"{place} needs source.shots_split: a split of '{source.path}', or a file")
    if Path(given).suffix in SUFFIXES:
        return replace(source, path=given, limit=None)
    if Path(source.path).suffix in SUFFIXES:
        raise UserError(
            f"{place} come from the split '{given}', and {source.path} is one file; "
            "name a file of examples in source.shots_split, or set shots to 0"
        )
    return replace(source, split=given, limit=None)
