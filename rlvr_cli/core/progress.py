"""How far a run is, as far as a reward may depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEY = "rlvr.progress"
"""Of the columns of a row, where a verifier that `wants_progress` finds it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The step that responses are judged in, of a run that trains on them."""

    step: int
    """Counted from 1: the step that these responses are for."""
    total_steps: int
    """Of the whole run (`trainer.steps`)."""

    def __post_init__(self) -> None:
        whole = type(self.step) is type(self.total_steps) is int
        if not whole or self.total_steps < 1 or not 0 <= self.step <= self.total_steps:
            raise ValueError(
                f"step {self.step} of {self.total_steps}: it must be from 0 to total_steps, and that above "
                "0, whole numbers"
            )

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.step / self.total_steps


def of(columns: Mapping[str, Any]) -> Progress | None:
    """The progress that a verifier was told; None outside training, as in evaluations.

    A column of a data set that has the name is no progress.
    """
    found = columns.get(KEY)
    return found if isinstance(found, Progress) else None
