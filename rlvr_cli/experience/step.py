"""What a step leaves behind for its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlvr_cli.core.types import Group
from rlvr_cli.experience.operations import Change


@dataclass(slots=True, kw_only=True)
class Step:
    """What came of a step."""

    number: int
    groups: list[Group]
    kept: list[Group]
    too_long: list[str]
    """Problems whose prompt does not fit with the library before it."""
    proposed: int = 0
    changes: list[Change] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Id while the library was edited -> id after it."""
    unchanged: str | None = None
    """Why the library is as it was, where no plan could be used."""
    given_up: dict[str, int] = field(default_factory=dict)
    """Stage -> questions without a usable answer; those that did not fit apart, as `<stage> (too long)`."""
