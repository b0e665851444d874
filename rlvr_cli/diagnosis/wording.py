"""What the responses say: the same words again, two scripts in one text, golds that nobody could know."""

from __future__ import annotations

from rlvr_cli.diagnosis import Asked, Evidence, rule
from rlvr_cli.diagnosis.evaluations import LIKELY, MANY, SURE, gain
from rlvr_cli.diagnosis.history import History
from rlvr_cli.schema import Diagnosis

REPETITION = "text/repetition"
MIXED = "text/mixed_fraction"
LOOPING = 0.3
"""Share of the trigrams that are said again: reasoning in plain prose has about a tenth."""
MORE = 0.2
"""Rise from the start without which lists and tables are no loops."""
MIXING = 0.1


@rule(
    "responses that repeat themselves",
    "the policy falls into loops; look at rollouts/ for what they earn, pay for texts without (the verifier "
    "repetition in data.<source>.verifiers), lower trainer.lr, see that rollout.temperature is not too low",
    change=("data.{source}.verifiers", "trainer.lr", "rollout.temperature"),
    symptom="responses-get-longer-or-shorter",
)
def repetition_loops(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Of the runs of three words in a response over 30% are there again, 20 points more than at the start."""
    change = history.change(REPETITION)
    if change is None or not (change[1] > LOOPING * ease and change[1] - change[0] > MORE * ease):
        return None
    text = (
        f"{change[1]:.0%} of the three-word phrases in {history.steps} had been said before in the same "
        f"response, and {change[0]:.0%} at the start"
    )
    return Evidence(text, {"start": change[0], "now": change[1]})


@rule(
    "languages mixed",
    "the reward does not mind in which language the policy thinks; pay for one (the verifier language in "
    "data.<source>.verifiers), or hold the policy closer to the reference (algorithm.kl.coef)",
    change=("data.{source}.verifiers", "algorithm.kl.coef"),
    symptom="responses-get-longer-or-shorter",
)
def language_mixing(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over 10% of the responses have letters of two scripts, 10 points more than at the start."""
    change = history.change(MIXED)
    if change is None or not (change[1] > MIXING * ease and change[1] - change[0] > MIXING * ease):
        return None
    text = (
        f"{change[1]:.0%} of the responses in {history.steps} mix letters of several scripts, and "
        f"{change[0]:.0%} did at the start"
    )
    return Evidence(text, {"start": change[0], "now": change[1]})


@rule(
    "a canary sings",
    "who scores there has seen these golds, pleases a verifier otherwise, or makes the mistake that leads to "
    "them; look for the bench in "
    "the training data, and read in rollouts/ and in eval/ what its verifier accepts",
    change=("data.{source}", "verifiers.{verifier}"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    critical=True,
    asked=Asked.evaluation,
)
def canary(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The bench `diagnosis.canary`, whose golds are false, has risen from its first evaluation, problem by
    problem (paired permutation test, p below 0.005 over the evaluations since)."""
    rows = history.evaluations.get(settings.canary or "", [])
    found = gain(rows)
    if found is None or not found[1].score > found[0].score:
        return None
    if not found[2] < (LIKELY if ease < 1 else SURE / min(len(rows) - 1, MANY)):
        return None
    before, after, p = found
    text = (
        f"{settings.canary}, whose golds are false, rose from {before.score:.1%} after step {before.step} "
        f"to {after.score:.1%} after step {after.step}"
    )
    return Evidence(text, {"start": before.score, "now": after.score, "p": p})
