"""Why verdicts are missing, in words: the commonest cause first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rlvr_cli.core.types import Reason

MISSING = (Reason.timeout.value, Reason.crash.value)
"""Reasons that mean: there is no verdict."""


def causes(found: Iterable[tuple[str, str]], silent: bool = False) -> Counter[str]:
    """How often each cause occurs among (reason, detail) pairs of verdicts; those with a score have none.

    `silent`: that a verifier has no say is one as well.
    """
    return Counter(
        f"{reason}: {' '.join(detail.split())}" if detail else reason
        for reason, detail in found
        if reason in MISSING or (silent and reason == Reason.no_say.value)
    )


def commonest(found: Counter[str]) -> str:
    """`crash: ConnectError: ... (12 of 14)`; empty where nothing is missing."""
    if not found:
        return ""
    [(cause, count)] = found.most_common(1)
    return cause if len(found) == 1 else f"{cause} ({count} of {found.total()})"
