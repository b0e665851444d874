"""Whether evaluations show that training helps."""

from __future__ import annotations

from rlvr_cli.core.paired import chance
from rlvr_cli.diagnosis import Asked, Evidence, rule
from rlvr_cli.diagnosis.history import Evaluation, History
from rlvr_cli.schema import Diagnosis

SURE = 0.005
"""p-value of a fall, divided by the evaluations that the best was chosen from: 2 of 100 runs whose twenty
evaluations differ by chance alone have such a fall."""
MANY = 100
"""Evaluations beyond which no sampled p-value is small enough."""
LIKELY = 0.05
"""p-value above which a fall may be chance again."""


@rule(
    "worse evaluation",
    "training makes the model worse; go back to the best checkpoint (checkpoint.best keeps it), lower "
    "trainer.lr, and compare the training reward with what the bench asks",
    change=("trainer.lr", "checkpoint.best"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    critical=True,
    asked=Asked.evaluation,
)
def eval_regression(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """A bench's newest evaluation is below its best, problem by problem (paired permutation test, p below
    0.005 over the evaluations before it); over when it has risen again and p is above 0.05."""
    found = [
        _regression(bench, rows, lasting=ease < 1)
        for bench, rows in history.evaluations.items()
        if bench != settings.canary
    ]
    return min((e for e in found if e), key=lambda e: e.values["now"] - e.values["best"], default=None)


def _regression(bench: str, evaluations: list[Evaluation], *, lasting: bool) -> Evidence | None:
    latest = evaluations[-1]
    best = max(evaluations, key=lambda each: each.score)
    if latest.score >= best.score:
        return None
    lowest = min(each.score for each in evaluations[evaluations.index(best) :])
    p = _chance(best, latest)
    if lasting:
        worse = p < LIKELY or latest.score <= lowest
    else:
        worse = p < SURE / min(len(evaluations) - 1, MANY)
    if not worse:
        return None
    paired = best.problems is not None and latest.problems is not None
    said = f" (p {_p(p)}, problem by problem)" if paired else ", further than the 95% intervals"
    text = (
        f"{bench} fell from {best.score:.1%} after step {best.step} to {latest.score:.1%} after step "
        f"{latest.step}{said}"
    )
    return Evidence(text, {"best": best.score, "now": latest.score, "best_step": float(best.step), "p": p})


def _chance(before: Evaluation, after: Evaluation) -> float:
    """p-value of the change; without results by problem 0 if the 95% intervals lie apart, else 1."""
    if before.problems is not None and after.problems is not None:
        found = chance(before.problems, after.problems)
        if found is not None:
            return found
    bounds = (before.low, after.high) if after.score < before.score else (after.low, before.high)
    return float(bounds[0] is None or bounds[1] is None or bounds[0] <= bounds[1])


def gain(evaluations: list[Evaluation]) -> tuple[Evaluation, Evaluation, float] | None:
    """The first, the newest, and the p-value of the change; None for less than two."""
    if len(evaluations) < 2:
        return None
    return evaluations[0], evaluations[-1], _chance(evaluations[0], evaluations[-1])


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"= {value:.3f}"
