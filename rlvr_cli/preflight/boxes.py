"""Whether the start model writes boxes in the coordinate system that its verifiers read them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from rlvr_cli.core.types import Group
from rlvr_cli.verifiers.boxes.doubts import settings
from rlvr_cli.verifiers.boxes.overlaps import Means, added, explained


def overlaps_of(group: Group, verifiers: Mapping[str, Any]) -> dict[str, Means]:
    """Verifier of boxes -> how well those of the responses lie on the gold's; of problems with one gold."""
    problem, found = group.problem, dict[str, Means]()
    for name in problem.verifiers if len(problem.golds) == 1 else ():
        if (judge := getattr(verifiers[name], "overlaps", None)) is not None:
            each = (judge(c.text, problem.answer, problem.extra) for c in group.completions)
            found[name] = reduce(added, each, Means())
    return found


def written_in(name: str, means: Iterable[Means], verifiers: Mapping[str, Any]) -> str:
    """That responses are written in another system than verifiers.`name` reads; "" where they are not."""
    if not (merged := reduce(added, means, Means())):
        return ""
    declared = verifiers[name].systems[1]
    if (found := explained(merged, declared)) is None:
        return ""
    system, best, own, count = found
    keys = (f"verifiers.{name}.boxes", f"verifiers.{name}.order")
    return (
        f"{count} responses have boxes, whose mean IoU with the gold is {own:.2f} read as {declared}, as "
        f"verifiers.{name} does, and {best:.2f} as {system}: {settings(system, declared, keys)}"
    )
