"""One line of the table, and the file in which a group leaves its lines as it finds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    stage: int
    name: str
    status: str
    """`ok`, `failed` or `skipped`."""
    said: str
    """What was measured against what; of a skipped check the reason."""
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


class Findings:
    """Written line by line, so that a group which crashes leaves what it had found."""

    def __init__(self, into: Path, stage: int, *, rehearsal: bool) -> None:
        self.into, self.stage, self.rehearsal = into, stage, rehearsal
        self.since = perf_counter()

    def add(self, name: str, status: str, said: str, **figures: float) -> None:
        now = perf_counter()
        finding = Finding(
            stage=self.stage,
            name=name,
            status=status,
            said=said,
            seconds=now - self.since,
            figures=figures,
        )
        self.since = now
        with self.into.open("a") as file:
            file.write(json.dumps(asdict(finding)) + "\n")

    def check(self, name: str, passed: bool, said: str, **figures: float) -> None:
        """What is right or wrong on every machine."""
        self.add(name, OK if passed else FAILED, said, **figures)

    def device_check(self, name: str, passed: bool, said: str, **figures: float) -> None:
        """What only a GPU can pass or fail: a rehearsal goes through it and judges nothing."""
        if self.rehearsal:
            self.add(name, SKIPPED, f"needs a GPU; the rehearsal's figures: {said}", **figures)
        else:
            self.check(name, passed, said, **figures)


def read(file: Path) -> list[Finding]:
    """What a group has left; nothing where it wrote nothing."""
    return [Finding(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def off(found: float, expected: float) -> float:
    """Relative difference; infinite where `found` is not a number."""
    difference = abs(found - expected) / max(abs(expected), 1e-12)
    return difference if difference == difference else float("inf")
