"""Before training: whether gold boxes lie in their images, and are written as the recipe says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rlvr_cli.core.types import Problem
from rlvr_cli.verifiers.boxes.doubts import Numbers, System, doubt, told

MOST = 5000
"""Golds of a source that are looked at, the first."""


def boxes_of(
    by_source: Mapping[str, Sequence[Problem]],
    refused: Mapping[str, Sequence[dict[str, Any]]],
    verifiers: Mapping[str, Any],
) -> dict[str, list[str]]:
    """`box_notes` of each source."""
    return {name: box_notes(found, refused[name], verifiers) for name, found in by_source.items()}


def box_notes(
    found: Sequence[Problem], refused: Sequence[dict[str, Any]], verifiers: Mapping[str, Any]
) -> list[str]:
    """What is wrong with the boxes of a source, a line for each verifier that reads them and each system
    that its rows declare.

    `refused`: {id, answer, extra} of golds that its verifiers cannot use, which count too: a box read in a
    wrong order often has no area.
    """
    said = []
    for name in dict.fromkeys(each for problem in found for each in problem.verifiers):
        if not hasattr(verifiers[name], "gold_numbers"):
            continue
        kept = ((p.id, gold, p.extra) for p in found if name in p.verifiers for gold in p.golds)
        others = ((row["id"], row["answer"], row["extra"]) for row in refused)
        rows = [*islice(kept, MOST), *islice(others, MOST)]
        by_system: dict[System, list[Numbers]] = {}
        for row in rows:
            if numbers := verifiers[name].gold_numbers(*row):
                by_system.setdefault(declared_of(verifiers[name], row[2]), []).extend(numbers)
        keys = getattr(verifiers[name], "gold_remedy", None)
        keys = keys or (f"verifiers.{name}.gold", f"verifiers.{name}.gold_order")
        for declared, numbers in by_system.items():
            if (doubts := doubt(numbers, declared)) is not None:
                said.append(told("gold boxes", doubts, declared, keys))
    return said


def declared_of(verifier: Any, extra: Mapping[str, Any]) -> System:
    """What the gold of a row is declared to be written in: by the recipe, or by the row itself."""
    found: System = verifier.gold_system(extra) if hasattr(verifier, "gold_system") else verifier.systems[0]
    return found
