"""Control: a reward without information. Gains under it are not learned from verification."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from rlvr_cli.types import Reason, Verdict


@dataclass(kw_only=True)
class Random:
    name: str = "random"
    weight: float = 1.0
    p: float = 0.5
    """Probability of score 1."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p}; it must be in [0, 1]")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        # A hash and no generator: the score depends on the text alone, so a resumed run repeats it.
        text = f"{self.seed}\n{response}".encode("utf-8", "surrogatepass")
        drawn = int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64
        hit = drawn < self.p
        return Verdict(score=float(hit), reason=Reason.correct if hit else Reason.wrong)

    inline = verify
