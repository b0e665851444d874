"""Which rollouts show a finding. A row is one sample, as `rollouts/` has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rlvr_cli.core.types import Reason

Sample = Mapping[str, Any]
Shows = Callable[[Sample], bool]
SHOWN = 3
LOOKED_AT = 10
"""Newest recorded steps that are searched."""


def first_verdict(row: Sample) -> Mapping[str, Any]:
    """That of the verifier that decides what is correct."""
    return next(iter(row["verdicts"].values()), {})


def _said(row: Sample, *reasons: Reason) -> bool:
    return first_verdict(row).get("reason") in [reason.value for reason in reasons]


def anything(row: Sample) -> bool:
    return True


def unread(row: Sample) -> bool:
    return _said(row, Reason.no_answer, Reason.malformed, Reason.refused)


def wrong(row: Sample) -> bool:
    return _said(row, Reason.wrong)


def right(row: Sample) -> bool:
    return _said(row, Reason.correct)


def not_right(row: Sample) -> bool:
    return not right(row)


def cut(row: Sample) -> bool:
    return not row["finished"]


def unjudged(row: Sample) -> bool:
    return _said(row, Reason.timeout, Reason.crash)


def costly(row: Sample) -> bool:
    return _said(row, Reason.timeout, Reason.refused)


def disputed(row: Sample) -> bool:
    """Accepted by the first verifier, not by the second."""
    audit = row.get("audit")
    return right(row) and audit is not None and audit["reason"] != Reason.correct.value


def that_show(shows: Shows, steps: list[int], read: Callable[[int], Iterable[Sample]]) -> list[Sample]:
    """The newest samples that show it, of different problems where there are."""
    found: list[Sample] = []
    for row in _newest(steps, read):
        if shows(row) and row["problem"] not in [other["problem"] for other in found]:
            found.append(row)
            if len(found) == SHOWN:
                break
    return found


def _newest(steps: list[int], read: Callable[[int], Iterable[Sample]]) -> Iterator[Sample]:
    for step in steps[::-1][:LOOKED_AT]:
        yield from read(step)
