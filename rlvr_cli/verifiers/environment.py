"""The reward that an episode's environment has given: nothing of the text is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Completion, Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads

NOTHING = "its environment gave no reward"


class Scale(Enum):
    unit = "unit"
    """Rewards lie in [0, 1]; one that does not ends the run."""
    own = "own"
    """Any number: the reward as it is, which no shaping maps."""


class Credit(Enum):
    episode = "episode"
    """All sampled tokens have the sum."""
    turn = "turn"
    """Each turn's reward stands at the end of its turn: only what was sampled until then has earned it."""


@dataclass(kw_only=True)
class Environment:
    reads = Reads.no_gold
    name: str = "environment"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    scale: Scale = Scale.unit
    """What rewards are."""
    credit: Credit = Credit.episode
    """Who has earned the rewards of single turns; turn: for advantages that keep rewards of single tokens."""
    correct_at: float = 1.0
    """Reward from which an episode counts as correct."""

    def __post_init__(self) -> None:
        if self.gate and self.scale is Scale.own:
            raise ValueError("a gate multiplies and takes values from 0 to 1; set scale=unit or gate=false")
        if self.credit is Credit.turn and self.scale is Scale.unit:
            raise ValueError("credit=turn takes rewards as they are; set scale=own")

    def of_sample(self, completion: Completion) -> Verdict:
        """An episode that nothing was given for has earned 0; one without an environment has no verdict."""
        episode = completion.episode
        if episode is None:
            return Verdict(score=0.0, reason=Reason.crash, detail="no environment has taken part in it")
        if episode.reward is None:
            return Verdict(score=0.0, reason=Reason.wrong, detail=NOTHING, raw=self.scale is Scale.own)
        reward = float(episode.reward)
        if self.scale is Scale.unit and not 0 <= reward <= 1:
            detail = f"environment {episode.environment} gave {reward:g}, outside of [0, 1]: set scale=own"
            return Verdict(score=0.0, reason=Reason.crash, detail=detail)
        right = reward >= self.correct_at
        return Verdict(
            score=reward,
            reason=Reason.correct if right else Reason.wrong,
            raw=self.scale is Scale.own,
            judged=float(right) if self.scale is Scale.own else None,
        )

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return Verdict(score=0.0, reason=Reason.crash, detail="an episode is judged, not a text")


def by_turn(verifier: object) -> bool:
    """Whether a verifier's rewards are those of single turns."""
    return getattr(verifier, "credit", None) is Credit.turn
