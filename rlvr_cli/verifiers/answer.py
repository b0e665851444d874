"""What a worker sends back for an item, and how a verifier says that its server is down."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlvr_cli.core.types import Verdict

MEMORY = "out of memory (verification.memory_mb)"
"""Detail of a verdict."""


class Unreachable(Exception):
    """Raised by a verifier whose server cannot be reached or is too busy: the pool waits for it and asks
    again (outage.py). A server that answers something else is no such thing."""


@dataclass(slots=True, kw_only=True)
class Answer:
    verdicts: list[Verdict] = field(default_factory=list)
    """One for each item; empty where there is none yet: see `unreachable` and `again`."""
    spent: bool = False
    """Nobody knows what the worker's memory holds: it is to be replaced."""
    unreachable: str | None = None
    """What the verifier's server said last, or why it said nothing."""

    @property
    def again(self) -> bool:
        """Out of memory in a worker that had served others: perhaps their doing, so a fresh one is asked."""
        return not self.verdicts and self.unreachable is None
