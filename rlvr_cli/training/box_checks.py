"""Before training: whether gold boxes lie in their images, and are written as the recipe says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rlvr_cli.core.types import Problem
from rlvr_cli.verifiers.boxes.doubts import doubt, told

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
    """What is wrong with the boxes of a source, a line for each verifier that reads them.

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
        numbers = [each for row in rows for each in verifiers[name].gold_numbers(*row)]
        declared, _ = verifiers[name].systems
        if (doubts := doubt(numbers, declared)) is not None:
            keys = (f"verifiers.{name}.gold", f"verifiers.{name}.gold_order")
            said.append(told("gold boxes", doubts, declared, keys))
    return said
