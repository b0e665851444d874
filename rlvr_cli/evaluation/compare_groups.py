"""Two groups of result files of one bench, each of several runs: is the difference more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import differences, share_right
from rlvr_cli.core.two_levels import Difference, Estimate, difference_of, mean_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupComparison:
    """B minus A over the problems that all results have."""

    bench: str
    problems: int
    left_out: int
    """Problems that some result lacks, or has no verdict of."""
    a: Estimate
    b: Estimate
    each: list[list[float]]
    """Mean of each result of A, and of B."""
    found: Difference


def compare_groups(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], *, force: bool = False
) -> GroupComparison:
    """Paired by problem; UserError when results were made in different ways, unless `force`."""
    results = [*a, *b]
    for other in results[1:]:
        if (differing := differences(results[0], other)) and not force:
            raise UserError(
                f"the results differ in {', '.join(differing)}; --force compares them nevertheless"
            )
    tables = [
        {row["id"]: share for row in result["problems"] if (share := share_right(row)) is not None}
        for result in results
    ]
    common = [key for key in tables[0] if all(key in table for table in tables)]
    if not common:
        raise UserError("the results have no problem in common with verdicts: there is nothing to compare")
    scores = np.array([[table[key] for key in common] for table in tables])
    mine, other_scores = scores[: len(a)], scores[len(a) :]
    asked = {row["id"] for result in results for row in result["problems"]}
    return GroupComparison(
        bench=results[-1]["bench"],
        problems=len(common),
        left_out=len(asked) - len(common),
        a=mean_of(mine, (0.0, 1.0)),
        b=mean_of(other_scores, (0.0, 1.0)),
        each=[mine.mean(1).tolist(), other_scores.mean(1).tolist()],
        found=difference_of(mine, other_scores),
    )


def report(found: GroupComparison) -> list[str]:
    """The comparison as lines of text."""
    p = "below 0.001" if found.found.p_value < 0.001 else f"= {found.found.p_value:.3f}"
    verdict = "more than chance" if found.found.p_value < 0.05 else "may be chance"
    left = f", {found.left_out} left out: not all results have a verdict of them" if found.left_out else ""
    lines = [f"{found.bench}, {found.problems} problems{left}"]
    for name, group, each in (("A", found.a, found.each[0]), ("B", found.b, found.each[1])):
        runs = " ".join(f"{100 * mean:.1f}" for mean in each)
        lines.append(
            f"  {name}  {group.mean:6.1%} [{100 * group.low:.1f}, {100 * group.high:.1f}]  "
            f"{group.runs} run{'s' * (group.runs > 1)}: {runs}"
        )
    low, high = 100 * found.found.low, 100 * found.found.high
    over = "runs and problems" if found.found.seeds else "problems alone"
    lines.append(
        f"  B - A  {100 * found.found.difference:+.1f} points, 95% interval {low:+.1f} to {high:+.1f} "
        f"(over {over}, paired by problem), p {p}: {verdict}"
    )
    if not found.found.seeds:
        lines.append(
            "  of a group of one run nobody knows how others of it would end: give two results at least"
        )
    return lines
