"""Thousands of answers made from values: no wrong one is paid, and hardly a right one refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

import pytest
from math_rows import KINDS, Row, rows

from rlvr_cli.core.types import Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.mathematics.rules import Units
from rlvr_cli.verifiers.pool import Pool

REFUSED = 0.005
"""Share of right answers that may be refused."""


@cache
def verifier(units: str) -> Math:
    return Math(units=Units(units))


def units_of(row: Row) -> str:
    return row.options.get("units", "ignore")


def check(judged: Iterable[tuple[Row, Verdict]]) -> Counter[str]:
    """Counts the rows of each kind; says which were judged wrongly."""
    paid, refused, seen, rights = [], [], Counter[str](), 0
    for row, verdict in judged:
        seen[row.kind] += 1
        rights += row.right
        accepted = verdict.scored and verdict.score == 1
        asked = f"{row.kind}, {row.why}: {row.said!r} for {row.gold!r} {row.options or ''}"
        line = f"{asked}: {verdict.reason.value} {verdict.detail}"
        if row.right and not accepted:
            refused.append(line)
        elif not row.right and (accepted or verdict.score > 0 or not verdict.scored):
            paid.append(line)
    assert not paid, f"{len(paid)} wrong answers paid or not judged:\n" + "\n".join(paid)
    assert len(refused) <= REFUSED * rights, (
        f"{len(refused)} of {rights} right answers refused:\n" + "\n".join(refused)
    )
    return seen


def test_the_same_seed_gives_the_same_rows() -> None:
    made = list(rows(3, per_kind=2))
    assert made == list(rows(3, per_kind=2)) != list(rows(4, per_kind=2))
    assert {row.kind for row in made} == set(KINDS)
    assert {row.right for row in made if row.kind == "integer"} == {True, False}
    assert all(row.said.strip() != row.gold or row.right for row in made)


def test_rows_decided_in_the_parent() -> None:
    decided = []
    for row in rows(0, per_kind=3):
        verdict = verifier(units_of(row)).inline(f"\\boxed{{{row.said}}}", row.gold, {})
        if verdict is not None:
            decided.append((row, verdict))
    seen = check(decided)
    assert seen.total() >= 1000 and len(seen) >= len(KINDS) // 2, seen


@pytest.mark.slow
def test_all_rows_through_the_pool() -> None:
    with Pool(
        {each: verifier(each) for each in ("ignore", "require", "if_given")}, Verification(workers=2)
    ) as pool:
        waiting = [
            (row, pool.submit(units_of(row), f"So it is $\\boxed{{{row.said}}}$.", row.gold, {}))
            for row in rows(1, per_kind=8)
        ]
        seen = check((row, future.result(300)) for row, future in waiting)
    assert seen.total() >= 5000 and set(seen) == set(KINDS)
