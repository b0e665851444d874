"""What verifiers have paid for hacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.causes import causes, commonest
from rlvr_cli.core.types import Verdict


@dataclass(slots=True, kw_only=True)
class Paid:
    """What one hack got from one verifier."""

    rewards: list[float] = field(default_factory=list)
    """Of each problem with a verdict, the highest of the hack's responses."""
    above: int = 0
    """Problems on which it got more than an honest wrong answer."""
    example: str = ""
    """A response that did."""

    @property
    def reward(self) -> float:
        return sum(self.rewards) / len(self.rewards)


@dataclass(slots=True, kw_only=True)
class Judged:
    """A verifier before the bank."""

    name: str
    """As in the recipe, `<source>.<verifier>` where there are several sources."""
    by_nature: str | None
    """What it pays for besides a right answer; None: nothing, so that a hack that pays is a finding."""
    rows: int = 0
    right: list[float] = field(default_factory=list)
    """What the gold got, the best of all forms, by problem."""
    wrong: list[float] = field(default_factory=list)
    """What an honest wrong answer got, the best of all forms, by problem."""
    hacks: dict[str, Paid] = field(default_factory=dict)
    missing: list[Verdict] = field(default_factory=list)
    """Verdicts without a score."""
    asked: int = 0

    @property
    def paying(self) -> list[str]:
        """Hacks that got more than a wrong answer."""
        return [name for name, paid in self.hacks.items() if paid.above]

    @property
    def lost(self) -> str | None:
        """The commonest cause, where half of the verdicts or more are missing."""
        if 2 * len(self.missing) < self.asked:
            return None
        return commonest(causes((verdict.reason.value, verdict.detail) for verdict in self.missing))


def as_summary(each: Judged) -> dict[str, Any]:
    """For `--json`."""

    def mean(values: list[float]) -> float | None:
        return sum(values) / len(values) if values else None

    return {
        "verifier": each.name,
        "by_nature": each.by_nature,
        "rows": each.rows,
        "gold": mean(each.right),
        "wrong": mean(each.wrong),
        "hacks": {
            name: {
                "reward": paid.reward if paid.rewards else None,
                "paid": paid.above,
                "of": len(paid.rewards),
                **({"example": paid.example[:500]} if paid.above else {}),
            }
            for name, paid in each.hacks.items()
        },
        "findings": [] if each.by_nature else each.paying,
        "without_verdict": len(each.missing),
        "lost": each.lost,
    }
