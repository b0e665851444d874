"""From which overlap on a box counts: any, a fixed IoU, several on average, or one that rises in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from rlvr_cli.core import progress

AVERAGED = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99]


class Count(Enum):
    """From which IoU on a box counts."""

    soft = "soft"
    """From any."""
    fixed = "fixed"
    """From `threshold`."""
    average = "average"
    """The mean of the scores from each of `averaged`."""
    dynamic = "dynamic"
    """From the one of `stages` that the run has come to (V-Triune)."""


@dataclass(kw_only=True)
class Thresholds:
    count: Count = Count.fixed
    """From which IoU a box counts: fixed, average (over `averaged`), dynamic (by progress), soft (any)."""
    threshold: float = 0.5
    """Of count=fixed."""
    averaged: list[float] = field(default_factory=lambda: list(AVERAGED))
    """Of count=average: V-Triune's eleven."""
    stages: list[float] = field(default_factory=lambda: [0.85, 0.95, 0.99])
    """Of count=dynamic: the IoU of each stage."""
    stage_ends: list[float] = field(default_factory=lambda: [0.1, 0.25])
    """The share of the run's steps up to which each stage but the last holds, its end included."""
    at: float | None = None
    """Share of the run in the place of its own; null: the run's own, and 1, the last stage, where nothing is
    trained, as in evaluations and `rlvr verify`."""
    wants_progress: ClassVar[bool] = True

    def check_thresholds(self) -> None:
        """ValueError for settings that contradict each other."""
        given = {"threshold": [self.threshold], "averaged": self.averaged, "stages": self.stages}
        for name, values in given.items():
            if not values or not all(0 < value <= 1 for value in values):
                raise ValueError(f"{name} is {getattr(self, name)}; an IoU is above 0 and at most 1")
        if len(self.stage_ends) != len(self.stages) - 1:
            raise ValueError(
                f"stages has {len(self.stages)} entries and stage_ends {len(self.stage_ends)}; every stage "
                "but the last has an end"
            )
        if self.stage_ends != sorted(set(self.stage_ends)) or not all(0 < end < 1 for end in self.stage_ends):
            raise ValueError(f"stage_ends is {self.stage_ends}; shares of the run rise, between 0 and 1")
        if self.at is not None and not 0 <= self.at <= 1:
            raise ValueError(f"at is {self.at}; a share of the run is from 0 to 1")

    def counted_from(self, extra: Mapping[str, Any]) -> list[float]:
        """The thresholds whose scores are averaged; one, but for count=average. 0: any overlap."""
        if self.count is Count.average:
            return self.averaged
        if self.count is Count.dynamic:
            return [self.stages[sum(self._share(extra) > end for end in self.stage_ends)]]
        return [self.threshold if self.count is Count.fixed else 0.0]

    def stage(self, thresholds: list[float]) -> dict[str, float | str]:
        """`Verdict.more`: the threshold that the run has come to."""
        return {"threshold": thresholds[0]} if self.count is Count.dynamic else {}

    def _share(self, extra: Mapping[str, Any]) -> float:
        if self.at is not None:
            return self.at
        known = progress.of(extra)
        return 1.0 if known is None else known.share
