"""What a one-token verifier has said of a sample, and how it is stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Probes:
    """Confidences of one sample, in the order in which it was sampled."""

    tokens: list[int] = field(default_factory=list)
    """After how many of the sample's tokens each was taken."""
    confidences: list[float] = field(default_factory=list)
    dropped: bool = False
    """Sampling was ended early: the sample is not whole, and has no vote."""
    recomputed: int = 0
    """Tokens that went through the model once more because the engine keeps its cache to itself."""


def row_of(probes: Probes) -> dict[str, Any]:
    """As JSON has it."""
    return asdict(probes) | {"confidences": [float(f"{c:.7g}") for c in probes.confidences]}


def probes_of(row: dict[str, Any]) -> Probes:
    return Probes(**row)
