"""Which findings a run has: a function of its recorded rows and of nothing else.

So there is nothing to checkpoint: a run that goes on reads its `metrics.jsonl` again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr_cli.diagnosis import EASE, RULES, Evidence, Finding, Rule
from rlvr_cli.diagnosis import learning as learning  # each fills RULES
from rlvr_cli.diagnosis import outputs as outputs
from rlvr_cli.diagnosis import policy as policy
from rlvr_cli.diagnosis import speed as speed
from rlvr_cli.diagnosis import verdicts as verdicts
from rlvr_cli.diagnosis.history import Context, History, finite
from rlvr_cli.schema import Diagnosis


@dataclass(slots=True)
class _Status:
    """How a rule stands."""

    finding: Finding | None = None
    """As it began, while it lasts."""
    clear: int = 0
    """Rows in a row without evidence, while it lasts."""
    over: int | None = None
    """Step at which the last one ended."""


class Watch:
    """Asks every rule after every row. `contexts` has one entry for each stage of the recipe."""

    def __init__(self, settings: Diagnosis, contexts: Sequence[Context]) -> None:
        self._settings = settings
        self._contexts = contexts
        self._stage = 0
        self._history = History(settings.window, contexts[0])
        self._status = {name: _Status() for name in RULES}

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in what was recorded earlier; what it led to was said then."""
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> list[Finding]:
        """Take in a row as `metrics.jsonl` has it; returns the findings that begin or end with it."""
        evaluation = row.get("event") == "eval"
        values = finite(row)
        if evaluation:
            self._history.evaluations.setdefault(row["bench"], []).append(values)
        else:
            self._enter(int(values.get("stage/number", 0)))
            self._history.add(values)
        step = int(row["step"])
        found = (self._ask(r, step) for r in RULES.values() if r.of_evaluations == evaluation)
        return [finding for finding in found if finding is not None]

    @property
    def active(self) -> list[Finding]:
        """Those that last, as they began, the oldest first."""
        found = [status.finding for status in self._status.values() if status.finding is not None]
        return sorted(found, key=lambda finding: finding.step)

    def _enter(self, stage: int) -> None:
        if stage != self._stage:
            self._stage = stage
            self._history.enter(self._contexts[stage])

    def _ask(self, rule: Rule, step: int) -> Finding | None:
        status = self._status[rule.name]
        evidence = rule.check(self._history, self._settings, 1.0 if status.finding is None else EASE)
        if status.finding is not None:
            return self._go_on(rule, status, status.finding, evidence, step)
        if evidence is None or self._too_soon(status, step):
            return None
        status.clear = 0
        status.finding = Finding(
            rule=rule.name,
            severity=rule.severity,
            begins=True,
            step=step,
            message=f"{evidence.text}: {rule.meaning}",
            values=evidence.values,
        )
        return status.finding

    def _too_soon(self, status: _Status, step: int) -> bool:
        return status.over is not None and step - status.over < self._settings.cooldown

    def _go_on(
        self, rule: Rule, status: _Status, finding: Finding, evidence: Evidence | None, step: int
    ) -> Finding | None:
        status.clear = 0 if evidence else status.clear + 1
        if status.clear < (1 if rule.of_evaluations else self._settings.window // 2):
            return None
        status.finding, status.over = None, step
        text = f"over: {rule.title}, found after step {finding.step}, is no longer seen after step {step}"
        return Finding(rule=rule.name, severity=rule.severity, begins=False, step=step, message=text)
