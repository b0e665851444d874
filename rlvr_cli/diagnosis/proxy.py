"""A reward that is optimised beyond what it stands for: it rises while a second verifier's score falls."""

from __future__ import annotations

from rlvr_cli.diagnosis import Evidence, rule
from rlvr_cli.diagnosis.history import UNKNOWN, History
from rlvr_cli.diagnosis.statistics import noise
from rlvr_cli.schema import Diagnosis

PROXY, GOLD, GAP = "audit/first_score", "audit/score", "audit/gap"
FALL = 6.0
"""Standard errors of the fall from the best window, which is the best of many, asked about after every step:
of 300 made runs of 200 steps whose second score is noise around a constant 33 were found at 4, 1 at 6."""
RISE = 3.0


@rule(
    "a reward optimised beyond what it stands for",
    "the policy has learnt what pleases the first verifier and not the second: take a checkpoint of the best "
    "steps, end the run there (trainer.steps), hold the policy closer to the reference (algorithm.kl.coef) "
    "or train a better reward model",
    change=("trainer.steps", "algorithm.kl.coef", "verifiers.{verifier}"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    critical=True,
)
def over_optimisation(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The second verifier's mean score is below that of its best window by six standard errors, and the first
    verifier's on the same samples has risen since by three (noise: the median step between neighbours)."""
    window, count = history.window, history.count(GOLD)
    if count < 2 * window:
        return None
    starts = range(count - 2 * window + 1)
    best = max(starts, key=lambda start: history.moments(GOLD, start, start + window).mean)
    gold, proxy = (
        [history.moments(name, at, at + window).mean for at in (best, count - window)]
        for name in (GOLD, PROXY)
    )
    error = (2 / window) ** 0.5
    fallen = gold[0] - gold[1] > FALL * ease * error * noise(history.values(GOLD))
    risen = proxy[1] - proxy[0] > RISE * ease * error * noise(history.values(PROXY))
    if not fallen or not risen:
        return None
    steps = [int(row["step"]) for row in history.rows if GOLD in row][best : best + window]
    context = history.context
    first = context.first_verifier
    shown = "the first verifier's score" if first == UNKNOWN else f"'{first}'"
    text = (
        f"since steps {steps[0]} to {steps[-1]} {shown} has risen from {proxy[0]:.3g} to "
        f"{proxy[1]:.3g}, while '{context.second_verifier or 'the second verifier'}' has fallen from "
        f"its best, {gold[0]:.3g}, to {gold[1]:.3g}"
    )
    values = {
        "best_step": float(steps[-1]),
        "first_then": proxy[0],
        "first_now": proxy[1],
        "second_then": gold[0],
        "second_now": gold[1],
    }
    gap = history.now(GAP)
    if gap is not None:
        text += f" (gap {gap:.2g} standard deviations of the first steps' samples)"
        values["gap"] = gap
    return Evidence(text, values)
