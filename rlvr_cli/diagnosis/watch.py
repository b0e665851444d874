"""Which findings a run has: a function of what it has recorded and of nothing else.

So there is nothing to checkpoint: a run that goes on reads its `metrics.jsonl` and evaluations again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr_cli.diagnosis import EASE, RULES, Asked, Evidence, Finding, Rule
from rlvr_cli.diagnosis import episodes as episodes  # each fills RULES
from rlvr_cli.diagnosis import evaluations as evaluations
from rlvr_cli.diagnosis import learning as learning
from rlvr_cli.diagnosis import outputs as outputs
from rlvr_cli.diagnosis import policy as policy
from rlvr_cli.diagnosis import proxy as proxy
from rlvr_cli.diagnosis import resources as resources
from rlvr_cli.diagnosis import rewards as rewards
from rlvr_cli.diagnosis import signal as signal
from rlvr_cli.diagnosis import speed as speed
from rlvr_cli.diagnosis import verdicts as verdicts
from rlvr_cli.diagnosis import wording as wording
from rlvr_cli.diagnosis.history import Context, History, finite
from rlvr_cli.schema import Diagnosis

Problems = Callable[[str, int], Mapping[str, float] | None]
"""(bench, step) -> its problems with the share of their samples that are correct, where they are known."""


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

    def __init__(
        self, settings: Diagnosis, contexts: Sequence[Context], *, window: int | None = None
    ) -> None:
        """`window`: another than `diagnosis.window`, for a run with fewer steps than that."""
        self._settings = settings
        self._contexts = contexts
        self._stage = 0
        self.history = History(window or settings.window, contexts[0])
        self._status = {name: _Status() for name in RULES}

    def replay(
        self, rows: Iterable[Mapping[str, Any]], problems: Problems = lambda bench, step: None
    ) -> list[Finding]:
        """Take in what was recorded earlier; returns what it led to."""
        found = []
        for row in rows:
            evaluation = row.get("event") == "eval"
            found += self.add(row, problems(row["bench"], int(row["step"])) if evaluation else None)
        return found

    def add(self, row: Mapping[str, Any], problems: Mapping[str, float] | None = None) -> list[Finding]:
        """Take in a row as `metrics.jsonl` has it, an evaluation with its results by problem where there are.

        Returns the findings that begin or end with it.
        """
        evaluation = row.get("event") == "eval"
        values = finite(row)
        if evaluation:
            self.history.evaluated(row["bench"], values, problems)
        else:
            self._enter(int(values.get("stage/number", 0)))
            self.history.add(values)
        step = int(row["step"])
        asked = Asked.evaluation if evaluation else Asked.step
        found = (self._ask(rule, step) for rule in RULES.values() if rule.asked is asked)
        return [finding for finding in found if finding is not None]

    @property
    def active(self) -> list[Finding]:
        """Those that last, as they began, the oldest first."""
        found = [status.finding for status in self._status.values() if status.finding is not None]
        return sorted(found, key=lambda finding: finding.step)

    def _enter(self, stage: int) -> None:
        if stage != self._stage:
            self._stage = stage
            self.history.enter(self._contexts[stage])

    def _ask(self, rule: Rule, step: int) -> Finding | None:
        status = self._status[rule.name]
        evidence = rule.check(self.history, self._settings, 1.0 if status.finding is None else EASE)
        if status.finding is not None:
            return self._go_on(rule, status, status.finding, evidence, step)
        if evidence is None or self._too_soon(status, step):
            return None
        status.clear = 0
        status.finding = finding_of(rule, evidence, step)
        return status.finding

    def _too_soon(self, status: _Status, step: int) -> bool:
        return status.over is not None and step - status.over < self._settings.cooldown

    def _go_on(
        self, rule: Rule, status: _Status, finding: Finding, evidence: Evidence | None, step: int
    ) -> Finding | None:
        status.clear = 0 if evidence else status.clear + 1
        if status.clear < (1 if rule.asked is Asked.evaluation else self._settings.window // 2):
            return None
        status.finding, status.over = None, step
        text = f"over: {rule.title}, found after step {finding.step}, is no longer seen after step {step}"
        return Finding(rule=rule.name, severity=rule.severity, begins=False, step=step, message=text)


def finding_of(rule: Rule, evidence: Evidence, step: int) -> Finding:
    """As it begins after `step`."""
    return Finding(
        rule=rule.name,
        severity=rule.severity,
        begins=True,
        step=step,
        message=f"{evidence.text}: {rule.meaning}",
        values=evidence.values,
    )
