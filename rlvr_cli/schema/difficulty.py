"""Which problems of a source come, and how often, by how often they are solved."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class DifficultyWeight(Enum):
    uniform = "uniform"
    variance = "variance"
    signal = "signal"
    hard = "hard"


class DifficultyBy(Enum):
    correct = "correct"
    score = "score"


class Unprofiled(Enum):
    keep = "keep"
    drop = "drop"
    fail = "fail"


@dataclass(kw_only=True)
class Difficulty:
    """What is made of the pass rates of a source's problems."""

    file: str | None = None
    """Profile that `rlvr profile` has written; null: pass rates come from the run alone (`adapt`)."""
    by: DifficultyBy = DifficultyBy.correct
    """What counts as solved in the profile. correct: samples whose verdict is; score: the mean score of the
    first verifier, partial credit included."""
    band: list[float] = field(default_factory=list)
    """[low, high]: problems with a pass rate below or above are left out; with `adapt` they come as rarely
    as `floor` says. Empty: no band."""
    weight: DifficultyWeight = DifficultyWeight.uniform
    """How readily a problem of pass rate p is taken when its turn comes. uniform: always; variance: 4p(1-p);
    signal: the chance that a group of `batch.group_size` has right and wrong samples; hard: 1-p."""
    power: float = 1.0
    """The weight is raised to it: below 1 it differs less, above 1 more."""
    floor: float = 0.1
    """Least chance of a problem to be taken when its turn comes: none vanishes."""
    unprofiled: Unprofiled = Unprofiled.keep
    """Problems that the profile does not know. keep: as if half of their samples were right; drop: leave them
    out; fail: refuse to start."""
    adapt: bool = False
    """The run's own groups change the pass rates."""
    prior: float = 4.0
    """With `adapt`, samples that the pass rate of the profile (without one, one half) counts for."""
    memory: float = 0.5
    """With `adapt`, what earlier samples of a problem still count for when it has a new group: 1 as much as
    new ones, 0 nothing."""
