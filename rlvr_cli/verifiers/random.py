"""Control: a reward without information. Gains under it are not learned from verification."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads


@dataclass(kw_only=True)
class Random:
    reads = Reads.no_gold
    by_nature = "nothing, by the draw"
    name: str = "random"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    p: float = 0.5
    """Probability of score 1."""
    seed: int = 0
    """Of the draws, besides the run's own: another one gives other rewards to the same samples."""

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p}; it must be in [0, 1]")

    def of_group(self, group: Group, seed: int) -> list[Verdict]:
        """Independent draws by the seeds, the group's place in the run and the sample's in the group.

        By no text: a group that comes again, as groups of short answers do, would have its rewards again, and
        a fixed reward of texts can be learned. By no generator: a run that was resumed draws the same.
        """
        place = f"{seed}\0{group.problem.source}\0{group.index}"
        return [self._draw(f"{n}\0{place}") for n in range(len(group.completions))]

    def verify_group(self, responses: list[str], answer: str, extra: dict[str, Any]) -> list[Verdict]:
        """Outside a run there is nothing but the texts: independent draws for the samples of a problem,
        whether their texts are equal or not."""
        # Equal texts must not share a draw: what a group agrees on would be rewarded or punished as one.
        texts = "\0".join([answer, *responses])
        return [self._draw(f"{n}\0{texts}") for n in range(len(responses))]

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        """A group of one."""
        return self.verify_group([response], answer, extra)[0]

    inline = verify

    def _draw(self, text: str) -> Verdict:
        digest = blake2b(f"{self.seed}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        hit = int.from_bytes(digest) / 2**64 < self.p
        return Verdict(score=float(hit), reason=Reason.correct if hit else Reason.wrong)
