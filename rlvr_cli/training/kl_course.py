"""The coefficient of the KL penalty from step to step (algorithms/kl_schedule.py)."""

from __future__ import annotations

from typing import Any

from rlvr_cli.algorithms.kl import Penalty
from rlvr_cli.core.types import Group


def begin_kl(kl: Any, step: int, steps: int) -> None:
    """Have the coefficient of the step after `step` finished ones; an option of a plugin has its own way."""
    if isinstance(kl, Penalty):
        kl.begin(step, steps)


def observe_kl(kl: Any, value: float, groups: list[Group]) -> None:
    """After a step: its mean KL, and what it trained on."""
    if isinstance(kl, Penalty):
        kl.observe(value, sum(len(group.completions) for group in groups))


def kl_metrics(kl: Any) -> dict[str, float]:
    """The coefficient of the step, where it changes."""
    return kl.measured() if isinstance(kl, Penalty) else {}
