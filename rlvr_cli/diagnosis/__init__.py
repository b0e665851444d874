"""What the metrics of a run say about its health, in plain sentences. No torch.

A rule is a function of the recorded rows of `metrics.jsonl` (`history.History`) that returns evidence or
None; `watch.Watch` feeds them row by row and says when a finding begins and when it is over; `account` says
what they make of a run as a whole. One file for each family of rules: `signal`, `verdicts`, `learning`,
`evaluations`, `policy`, `proxy`, `outputs`, `wording`, `episodes`, `speed`, `resources`. docs/diagnosis.md
lists them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from rlvr_cli.diagnosis.samples import Shows, anything

if TYPE_CHECKING:
    from rlvr_cli.diagnosis.history import History
    from rlvr_cli.schema import Diagnosis

EASE = 0.8
"""Hysteresis: a finding that has begun lasts until its value is this far back within the threshold."""


class Severity(StrEnum):
    warning = "warning"
    critical = "critical"
    """What comes after it is hardly worth its cost."""


class Asked(StrEnum):
    """When a rule is."""

    step = "step"
    evaluation = "evaluation"
    end = "end"
    """Of a run as a whole, and of no step on the way."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule has seen: the first half of a sentence, and its numbers."""

    text: str
    values: dict[str, float]


Check = Callable[["History", "Diagnosis", float], "Evidence | None"]
"""(history, settings, ease) -> evidence; `ease` is 1, or EASE while the finding lasts: thresholds are
multiplied by it (divided where the value lies below)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    title: str
    """What it finds, in a few words."""
    severity: Severity
    meaning: str
    """What the evidence means and what to do: the second half of the sentence."""
    check: Check
    asked: Asked
    change: tuple[str, ...]
    """Keys to change, the likeliest first; `{verifier}` and `{source}` stand for those of the run."""
    symptom: str
    """Its heading in docs/troubleshooting.md, as an anchor."""
    shows: Shows
    """Which samples show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    rule: str
    severity: Severity
    begins: bool
    """False: it is over."""
    step: int
    message: str
    values: dict[str, float] = field(default_factory=dict)


RULES: dict[str, Rule] = {}
"""All rules by name, in the order in which they are asked; `watch` imports the files that fill it."""


def rule(
    title: str,
    meaning: str,
    *,
    change: tuple[str, ...],
    symptom: str,
    critical: bool = False,
    asked: Asked = Asked.step,
    shows: Shows = anything,
) -> Callable[[Check], Check]:
    """Make a function a rule under its own name."""

    def register(check: Check) -> Check:
        RULES[check.__name__] = Rule(
            name=check.__name__,
            title=title,
            severity=Severity.critical if critical else Severity.warning,
            meaning=meaning,
            check=check,
            asked=asked,
            change=change,
            symptom=symptom,
            shows=shows,
        )
        return check

    return register
