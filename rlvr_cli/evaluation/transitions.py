"""Two results by how a response is written: Spurious Rewards' code frequency and contributions (2506.10947).

A response is of the kind `with` where a text stands in it, in any case, else `without`. Each of a problem's
samples before is paired with each after, all pairs of a problem together weighing 1. A transition, with ->
without say, has contributed

    C = (right after - right before, over its pairs) / (the same over all pairs)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.errors import UserError

KINDS = ("with", "without")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One result, over its samples with a verdict; None where there are none."""

    frequency: float
    """Share of the kind `with`."""
    right_with: float | None
    right_without: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    before: str
    after: str
    problems: float
    """Weight of its pairs."""
    gain: float
    """Problems that became right, less those that became wrong."""
    contribution: float | None
    """Its share of the whole gain; None where that is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    text: str
    before: Written
    after: Written
    gain: float
    table: list[Transition]


Samples = list[tuple[bool, bool]]
"""(the text is there, it is right)."""


def transitions(a: dict[str, Any], b: dict[str, Any], text: str) -> Transitions:
    """UserError for a text that is empty, and where no problem is in both with verdicts."""
    if not text:
        raise UserError("--contains is empty; give a text, such as python")
    mine, other = (_samples(result, text) for result in (a, b))
    common = [key for key in mine if key in other]
    if not common:
        raise UserError("the results have no problem in common with verdicts: there is nothing to compare")
    sums = {(one, two): [0.0, 0.0] for one in KINDS for two in KINDS}
    for key in common:
        weight = 1 / (len(mine[key]) * len(other[key]))
        for has, was_right in mine[key]:
            for has_now, is_right in other[key]:
                found = sums[KINDS[not has], KINDS[not has_now]]
                found[0] += weight
                found[1] += weight * (is_right - was_right)
    gain = sum(found[1] for found in sums.values())
    some = abs(gain) > 1e-9  # sums of fractions
    table = [
        Transition(
            before=one, after=two, problems=n, gain=change, contribution=change / gain if some else None
        )
        for (one, two), (n, change) in sums.items()
    ]
    sides = [[sample for key in common for sample in side[key]] for side in (mine, other)]
    before, after = map(_written, sides)
    return Transitions(text=text, before=before, after=after, gain=gain, table=table)


def report(found: Transitions) -> list[str]:
    """As lines of text."""
    lines = []
    for name, side in (("A", found.before), ("B", found.after)):
        with_, without = map(_share, (side.right_with, side.right_without))
        lines.append(
            f"  {name}  {side.frequency:.1%} of the responses have {found.text!r}: right {with_} with it, "
            f"{without} without"
        )
    for each in found.table:
        part = "" if each.contribution is None else f", {each.contribution:.1%} of the gain"
        way = f"{each.before} -> {each.after}"
        lines.append(f"  {way}: {each.problems:g} problems, {each.gain:+.3g} right{part}")
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _samples(result: dict[str, Any], text: str) -> dict[str, Samples]:
    wanted, found = text.lower(), {}
    for row in result["problems"]:
        if "responses" not in row:
            raise UserError(f"--contains: problem {row['id']} has no responses stored")
        judged = zip(row["responses"], row["correct"], strict=True)
        samples = [(wanted in said.lower(), bool(right)) for said, right in judged if right is not None]
        if samples:
            found[row["id"]] = samples
    return found


def _written(samples: Samples) -> Written:
    kinds = [[right for has, right in samples if has is kind] for kind in (True, False)]
    means = [sum(rights) / len(rights) if rights else None for rights in kinds]
    return Written(frequency=len(kinds[0]) / len(samples), right_with=means[0], right_without=means[1])
