"""Rewards by length that depend on correctness, as Open-R1 has them beside its accuracy reward. Both are

    mapped score + factor * term(|y|, correct)

with |y| in tokens (Open-R1's cosine counts characters) and correct where the score is 1 or more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.shaping import Shaping

if TYPE_CHECKING:
    from torch import Tensor

CORRECT = 1.0 - 1e-6
"""Scores are sums of weighted verdicts, in floating point."""


@option("shaping")
class ScaledCosine(Shaping):
    """Cosine reward (Demystifying Long Chain-of-Thought Reasoning, 2502.03373; Open-R1), with L = max_length:

        a + (b - a) / 2 * (1 + cos(pi * min(|y|, L) / L)),   b at length 0, a at L

    (a, b) = (0.5, 1) where correct, (-0.5, -1) where not: right answers had better be short, wrong ones long.
    """

    name: str = "scaled_cosine"
    max_length: int | None = None
    """L; null: rollout.max_tokens."""
    correct_short: float = 1.0
    """Term of a right response of no length."""
    correct_long: float = 0.5
    """Term of a right response of L tokens."""
    wrong_short: float = -1.0
    """Term of a wrong response of no length."""
    wrong_long: float = -0.5
    """Term of a wrong response of L tokens."""
    factor: float = 1.0
    """On the term."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.factor >= 0, "shaping.factor", self.factor, "at least 0")
        if self.max_length is not None:
            require(self.max_length > 0, "shaping.max_length", self.max_length, "positive")

    def resolve(self, max_tokens: int) -> None:
        self.max_length = self.max_length or max_tokens

    def __call__(self, scores_PG: Tensor, lengths_PG: Tensor, truncated_PG: Tensor, step: int) -> Tensor:
        if self.max_length is None:
            raise ValueError("scaled_cosine has no max_length: call resolve(max_tokens) first")
        share_PG = (lengths_PG.double() / self.max_length).clamp(max=1)
        wave_PG = (1 + (math.pi * share_PG).cos()) / 2
        right_PG = self.correct_long + (self.correct_short - self.correct_long) * wave_PG
        wrong_PG = self.wrong_long + (self.wrong_short - self.wrong_long) * wave_PG
        term_PG = right_PG.where(scores_PG >= CORRECT, wrong_PG)
        return (self.mapped(scores_PG) + self.factor * term_PG).to(scores_PG.dtype)


@option("shaping")
class KimiLength(Shaping):
    """Length reward within the group (Kimi k1.5, 2501.12599; Open-R1's `len`), of its samples with a verdict:

        lambda = 0.5 - (|y| - min) / (max - min);   lambda where correct, min(0, lambda) where not

    0 where all are of one length.
    """

    name: str = "kimi_length"
    factor: float = 1.0
    """On the term."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.factor >= 0, "shaping.factor", self.factor, "at least 0")

    def __call__(self, scores_PG: Tensor, lengths_PG: Tensor, truncated_PG: Tensor, step: int) -> Tensor:
        lengths_PG, judged_PG = lengths_PG.double(), ~scores_PG.isnan()
        least_P1 = lengths_PG.where(judged_PG, math.inf).amin(1, keepdim=True)
        most_P1 = lengths_PG.where(judged_PG, -math.inf).amax(1, keepdim=True)
        spread_P1 = most_P1 - least_P1
        term_PG = 0.5 - (lengths_PG - least_P1) / spread_P1
        term_PG = term_PG.where(scores_PG >= CORRECT, term_PG.clamp(max=0))
        term_PG = term_PG.where((spread_P1 > 0) & judged_PG, 0.0)  # 0 / 0, and groups without a verdict
        return (self.mapped(scores_PG) + self.factor * term_PG).to(scores_PG.dtype)
