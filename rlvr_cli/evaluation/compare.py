"""Two result files of one bench, problem by problem: is the difference more than chance?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.paired import sign_flips
from rlvr_cli.core.result_files import differences as differences
from rlvr_cli.core.result_files import right, share_right
from rlvr_cli.evaluation.scores import mg_pass_at_k, over_problems
from rlvr_cli.schema.score_names import SMALLEST_STEADY


@dataclass(kw_only=True)
class Steadiness:
    """mG-Pass@k of both, and the 95% interval of B minus A over the problems that have k verdicts in both."""

    k: int
    before: float
    after: float
    low: float | None
    """None where it is one problem."""
    high: float | None


@dataclass(kw_only=True)
class Comparison:
    """B minus A over the problems both have."""

    bench: str
    problems: int
    before: float
    after: float
    low: float | None
    """Of the 95% interval; None where they have one problem, which no interval is over."""
    high: float | None
    p_value: float
    gained: list[str]
    """Ids of the problems B is better at, the largest gain first."""
    lost: list[str]
    steady: Steadiness | None
    """None below four samples of a problem."""

    @property
    def difference(self) -> float:
        return self.after - self.before


def compare(a: dict[str, Any], b: dict[str, Any], *, force: bool = False, seed: int = 0) -> Comparison:
    """Paired by problem; UserError when the results were made in different ways, unless `force`."""
    if (differing := differences(a, b)) and not force:
        raise UserError(f"the results differ in {', '.join(differing)}; --force compares them nevertheless")
    mine, other = (
        {row["id"]: share for row in result["problems"] if (share := share_right(row)) is not None}
        for result in (a, b)
    )
    common = [key for key in mine if key in other]
    if not common:
        raise UserError("the results have no problem in common with verdicts: there is nothing to compare")
    change = {key: other[key] - mine[key] for key in common}
    interval = over_problems(list(change.values()), seed=seed, bounds=(-1.0, 1.0))
    low, high = interval or (None, None)
    ordered = sorted(common, key=lambda key: -abs(change[key]))
    return Comparison(
        bench=b["bench"],
        problems=len(common),
        before=float(np.mean([mine[key] for key in common])),
        after=float(np.mean([other[key] for key in common])),
        low=low,
        high=high,
        p_value=sign_flips(list(change.values()), seed=seed),
        gained=[key for key in ordered if change[key] > 0],
        lost=[key for key in ordered if change[key] < 0],
        steady=_steadiness(a["problems"], b["problems"], seed),
    )


def _steadiness(a: list[dict[str, Any]], b: list[dict[str, Any]], seed: int) -> Steadiness | None:
    k = min(max(len(row["correct"]) for row in rows) for rows in (a, b))
    mine, other = (
        {row["id"]: mg_pass_at_k(len(found), sum(found), k) for row in rows if len(found := right(row)) >= k}
        for rows in (a, b)
    )
    common = [key for key in mine if key in other]
    if k < SMALLEST_STEADY or not common:
        return None
    interval = over_problems([other[key] - mine[key] for key in common], seed=seed, bounds=(-1.0, 1.0))
    low, high = interval or (None, None)
    before, after = (float(np.mean([side[key] for key in common])) for side in (mine, other))
    return Steadiness(k=k, before=before, after=after, low=low, high=high)


def report(found: Comparison, names: tuple[str, str], shown: int = 10) -> list[str]:
    """The comparison as lines of text."""
    p = "below 0.001" if found.p_value < 0.001 else f"= {found.p_value:.3f}"
    verdict = "more than chance" if found.p_value < 0.05 else "may be chance"
    lines = [
        f"{found.bench}, {found.problems} problems",
        f"  A  {found.before:6.1%}  {names[0]}",
        f"  B  {found.after:6.1%}  {names[1]}",
        f"  B - A  {100 * found.difference:+.1f} points, {_interval(found.low, found.high)} (over problems, "
        f"paired), p {p}: {verdict}",
    ]
    for name, ids in (("gained", found.gained), ("lost", found.lost)):
        listed = ", ".join(" ".join(key.split())[:40] for key in ids[:shown])
        more = f", and {len(ids) - shown} more" if len(ids) > shown else ""
        lines.append(f"  {name} {len(ids)}" + (f": {listed}{more}" if ids else ""))
    if (steady := found.steady) is not None:
        lines.append(
            f"  mgpass@{steady.k}  A {steady.before:.1%}, B {steady.after:.1%}, "
            f"B - A {100 * (steady.after - steady.before):+.1f} points, "
            f"{_interval(steady.low, steady.high)}"
        )
    return lines


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "no interval of a single problem"
    return f"95% interval {100 * low:+.1f} to {100 * high:+.1f}"
