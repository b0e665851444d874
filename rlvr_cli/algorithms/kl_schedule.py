"""How the coefficient of a KL penalty goes over a run, b = `coef`, f = `final_coef`, T = `schedule_steps`:

    constant   b
    linear     b + (f - b) t / T                       PipelineRL, from initial to final
    cosine     f + (b - f) (1 + cos(pi t / T)) / 2     STILL-3 (2503.04548): 1e-3 to 0
    adaptive   after each step: b <- b (1 + clip(KL / target_kl - 1, -0.2, 0.2) n / horizon)

t is the number of finished steps, at most T. The adaptive controller is Ziegler et al.'s (1909.08593) as verl
has it, n the responses of the step.
"""

from __future__ import annotations

import math
from enum import Enum

CLIP = 0.2
"""Of the adaptive controller's relative error."""


class Schedule(Enum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"
    adaptive = "adaptive"


def annealed(schedule: Schedule, first: float, final: float, share: float) -> float:
    """The coefficient after this share of the steps; of linear and cosine."""
    share = min(max(share, 0.0), 1.0)
    if schedule is Schedule.linear:
        return first + (final - first) * share
    return final + (first - final) * (1 + math.cos(math.pi * share)) / 2


def adapted(coef: float, kl: float, target: float, responses: int, horizon: float) -> float:
    """The coefficient after a step whose mean KL was `kl`; never below 0."""
    error = min(max(kl / target - 1, -CLIP), CLIP)
    return max(coef * (1 + error * responses / horizon), 0.0)
