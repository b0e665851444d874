"""Score -> reward. Every option first maps the verifier's score s in [0, 1] to

    wrong + (correct - wrong) * s

so that {0, 1}, {-1, 1} or any other coding is a setting, then adds its own term.
A NaN score (no verdict) stays NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Shaping:
    """What all options share."""

    correct: float = 1.0
    """Reward of a score of 1."""
    wrong: float = 0.0
    """Reward of a score of 0."""

    def __post_init__(self) -> None:
        require(self.correct > self.wrong, "shaping.correct", self.correct, f"above wrong ({self.wrong})")

    def resolve(self, max_tokens: int) -> None:
        """Fill lengths left null from rollout.max_tokens. Called once, before the first step."""

    def mapped(self, scores_PG: Tensor) -> Tensor:
        return self.wrong + (self.correct - self.wrong) * scores_PG


@option("shaping")
class Identity(Shaping):
    """The mapped score and nothing else."""

    name: str = "identity"

    def __call__(self, scores_PG: Tensor, lengths_PG: Tensor, truncated_PG: Tensor, step: int) -> Tensor:
        return self.mapped(scores_PG)


@option("shaping")
class SoftOverlong(Shaping):
    """Soft overlong punishment of DAPO (2503.14476, eq. 13), with L = max_length and C = buffer:

        r + factor * clamp(((L - C) - |y|) / C, floor, 0)

    |y| counts the end-of-sequence token. The paper's floor is -1; verl has none, which only matters
    where responses may exceed L; OpenRLHF caps the excess at C, which is the floor of -1.
    """

    name: str = "soft_overlong"
    max_length: int | None = None
    """L, the length that earns the whole penalty; null: rollout.max_tokens."""
    buffer: int | None = None
    """C, tokens before L where the penalty sets in; null: a fifth of L (the paper's 4096 of 20480)."""
    factor: float = 1.0
    """Penalty at L."""
    floor: float | None = -1.0
    """Lower bound of the penalty before the factor; null: none (verl)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.factor >= 0, "shaping.factor", self.factor, "at least 0")
        require(self.floor is None or self.floor <= 0, "shaping.floor", self.floor, "0, negative or null")
        if self.max_length is not None:
            require(self.max_length > 0, "shaping.max_length", self.max_length, "positive")
        if self.buffer is not None:
            most = self.max_length or math.inf
            require(0 < self.buffer <= most, "shaping.buffer", self.buffer, "in 1..max_length")

    def resolve(self, max_tokens: int) -> None:
        self.max_length = self.max_length or max_tokens
        self.buffer = self.buffer or max(1, self.max_length // 5)
        self.__post_init__()

    def __call__(self, scores_PG: Tensor, lengths_PG: Tensor, truncated_PG: Tensor, step: int) -> Tensor:
        if self.max_length is None or self.buffer is None:
            raise ValueError("soft_overlong has no max_length or buffer: call resolve(max_tokens) first")
        slack_PG = self.max_length - self.buffer - lengths_PG.double()  # bfloat16 has no 16385
        penalty_PG = self.factor * (slack_PG / self.buffer).clamp(self.floor, 0)
        return (self.mapped(scores_PG) + penalty_PG).to(scores_PG.dtype)


@option("shaping")
class CosineLength(Shaping):
    """Scheduled length penalty of ProRL v2, with L = max_length and t = |y|, on for some steps of each cycle:

        r + r_min + (r_max - r_min) / 2 * (1 + cos(pi * t / L))

    The report names t, L, r_min, r_max and a cycle, but its formula survives only as a picture we have
    not seen: this half cosine, r_max at t = 0 and r_min at t = L, is a reconstruction. OpenRLHF's and
    NeMo-RL's ProRL v2 configurations put DAPO's linear penalty or `stop_properly` in its place.
    """

    name: str = "cosine_length"
    max_length: int | None = None
    """L; null: rollout.max_tokens. Longer responses are treated as of length L."""
    r_min: float = -0.5
    """Added at length L."""
    r_max: float = 0.0
    """Added at length 0."""
    on_steps: int = 100
    """Steps of each cycle in which the penalty applies; a cycle starts with them."""
    off_steps: int = 500
    """Steps of each cycle without penalty; 0: always on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.r_min <= self.r_max, "shaping.r_min", self.r_min, f"at most r_max ({self.r_max})")
        require(self.on_steps > 0, "shaping.on_steps", self.on_steps, "positive")
        require(self.off_steps >= 0, "shaping.off_steps", self.off_steps, "at least 0")
        if self.max_length is not None:
            require(self.max_length > 0, "shaping.max_length", self.max_length, "positive")

    def resolve(self, max_tokens: int) -> None:
        self.max_length = self.max_length or max_tokens

    def on(self, step: int) -> bool:
        return step % (self.on_steps + self.off_steps) < self.on_steps

    def __call__(self, scores_PG: Tensor, lengths_PG: Tensor, truncated_PG: Tensor, step: int) -> Tensor:
        rewards_PG = self.mapped(scores_PG)
        if not self.on(step):
            return rewards_PG
        if self.max_length is None:
            raise ValueError("cosine_length has no max_length: call resolve(max_tokens) first")
        share_PG = (lengths_PG.double() / self.max_length).clamp(max=1)
        penalty_PG = self.r_min + (self.r_max - self.r_min) / 2 * (1 + (math.pi * share_PG).cos())
        return (rewards_PG + penalty_PG).to(scores_PG.dtype)


@option("shaping")
class StopProperly(Shaping):
    """Penalty for responses that do not end by themselves ("stop properly", ProRL v2 configurations):

        r * coef  where truncated (coef in [0, 1]);  coef itself where coef < 0 (OpenRLHF)

    With rewards below 0 a factor in [0, 1) would make a wrong truncated answer better than a wrong
    finished one, so `wrong` must then be 0 or more, or coef negative.
    """

    name: str = "stop_properly"
    coef: float = 0.0
    """Factor on the reward of a truncated response; negative: its reward."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.coef <= 1, "shaping.coef", self.coef, "at most 1")
        require(
            self.wrong >= 0 or not 0 <= self.coef < 1,
            "shaping.wrong",
            self.wrong,
            "0 or more with coef in [0, 1)",
        )

    def __call__(self, scores_PG: Tensor, lengths_PG: Tensor, truncated_PG: Tensor, step: int) -> Tensor:
        rewards_PG = self.mapped(scores_PG)
        # A product or sum with the old reward, not a constant: NaN (no verdict) must stay NaN.
        penalised_PG = rewards_PG * self.coef if self.coef >= 0 else rewards_PG * 0 + self.coef
        return penalised_PG.where(truncated_PG, rewards_PG)
