"""How `rlvr eval` makes one answer of several samples, and which of them are sampled to their end."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any


class SelectBy(Enum):
    majority = "majority"
    otv = "otv"


class TraceScore(Enum):
    final = "final"
    mean = "mean"
    min = "min"


class Prune(Enum):
    none = "none"
    halving = "halving"
    threshold = "threshold"
    winner = "winner"


@dataclass(kw_only=True)
class Select:
    """Which answer the samples of a problem give together, and which of them are sampled to their end."""

    by: SelectBy = SelectBy.majority
    """majority: the plain vote (maj@j); otv: votes by a one-token verifier's confidence too (docs/otv.md)."""
    verifier: str | None = None
    """The verifier: a run of `rlvr otv`, or its `final/`. It must have been trained on this very model."""
    every: int = 32
    """Tokens between two probes of a sample; it is probed at its end too."""
    score: TraceScore = TraceScore.final
    """Score of a sample: final confidence, mean of the last `window` probes, or min over windows of them."""
    window: int = 4
    """Probes in a window of `score: mean` and `score: min`."""
    keep: float = 0.5
    """Share of the samples, those with the highest scores, that take part in the filtered vote."""
    prune: Prune = Prune.none
    """none: sample all to their end, and tell what each rule would have saved. Else samples really end early:
    halving (the lower half at each milestone), threshold (below `below`), winner (the first that ends above
    `above` stops the others). Needs rollout=hf."""
    ema: float = 0.5
    """Weight of the past in the moving mean of confidences that rules look at; 0: the newest probe alone."""
    milestones: list[int] = field(default_factory=list)
    """Tokens at which half of the samples are dropped; empty: max_tokens / 2, and half of that for each
    further halving."""
    below: float = 0.3
    """A sample whose mean confidence is lower is dropped by `threshold`."""
    min_tokens: int = 64
    """Tokens before which `threshold` drops nothing."""
    above: float = 0.9
    """A sample that has ended with a higher mean confidence wins by `winner`."""
    full: str | None = None
    """Result file of the same bench, sampled to the end: what pruning saves is counted against it. null: only
    the tokens sampled are told."""

    def __post_init__(self) -> None:
        if self.by is SelectBy.majority:
            usual: dict[str, Any] = {
                each.name: [] if each.name == "milestones" else each.default for each in fields(self)
            }
            changed = [name for name, value in usual.items() if getattr(self, name) != value]
            if changed:
                raise ValueError(
                    f"select.{changed[0]} is for select.by=otv, and select.by is majority; leave it out, or "
                    "add --select otv"
                )
        if self.full is not None and self.prune is Prune.none:
            raise ValueError(
                "select.full is what pruning is compared with, and select.prune is none; leave it out"
            )
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"select.milestones is {self.milestones}; they must rise")
