"""What became of a sample of several turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from rlvr_cli.core.verdict import Verdict


class Ended(Enum):
    """Why an episode ended. tokens: at the limit of its length; failed: its environment, not the policy."""

    done = "done"
    turns = "turns"
    tokens = "tokens"
    failed = "failed"


@dataclass(slots=True, kw_only=True)
class TurnNote:
    """A turn of an episode, for the records."""

    begin: int
    """Of the policy's tokens among those of its sequence; `end` is the first after them."""
    end: int
    text: str
    said: str = ""
    """What the environment put behind it, as the policy sees it."""
    row: int = 0
    """Number of its sequence in the sample."""
    reward: float | None = None
    state: int = 0
    """Checksum of the state it began in: what its environment called it, or all ids that stood before it."""
    seconds: float = 0.0
    """Of the environment."""
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Episode:
    """What became of a sample that an environment took part in."""

    environment: str
    """Its name in the recipe."""
    ended: Ended
    turns: list[TurnNote]
    """Without texts and notes on other ranks than the one that sampled it."""
    reward: float | None = None
    """Sum of what the environment gave; None: it gave nothing."""
    measures: dict[str, float] = field(default_factory=dict)
    """Sums over the turns."""
    failure: Verdict | None = None
    """timeout or crash of the environment: no verifier has a say then."""
    closed: int = 0
    """Turns cut off at their limit, whose end was put in, unsampled."""
    violations: int = 0
    """Turns whose prompt was not the beginning of the sequence that trains: must be 0."""
    seconds: float = 0.0
