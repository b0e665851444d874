"""What a check says about one thing. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    ok = "ok"
    missing = "missing"
    """Not there, or out of reach."""
    failed = "failed"
    """There, and does not work."""
    skipped = "skipped"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    name: str
    status: Status
    detail: str
    fix: str = ""
    """Command or setting that helps; empty where there is nothing to do."""
    needed: bool = True
    """Whether training on this machine fails without it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The numbers of the detail, for `--json`."""
    log: list[str] = field(default_factory=list)
    """Last lines of output of a check that broke off."""

    @property
    def blocks(self) -> bool:
        return self.needed and self.status in (Status.missing, Status.failed)
