"""What the responses look like: cut off, growing towards the limit, shrinking."""

from __future__ import annotations

from statistics import fmean

from rlvr_cli.diagnosis import Evidence, rule, samples
from rlvr_cli.diagnosis.history import History
from rlvr_cli.diagnosis.silence import Cause, cause
from rlvr_cli.schema import Diagnosis

LENGTH = "response_length/mean"
TRUNCATED = "response_length/truncated_fraction"

GROWTH = 1.3
NEAR = 0.05
"""Truncated share that is still harmless (ScaleRL, 2510.13786)."""
SHRUNK = 0.5


@rule(
    "truncation",
    "the limit decides the reward, not the answer; raise rollout.max_tokens, or take "
    "algorithm/shaping=soft_overlong so that shorter responses pay",
    change=("rollout.max_tokens", "algorithm/shaping=soft_overlong"),
    symptom="responses-are-cut-off",
    shows=samples.cut,
)
def truncation(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """More than `diagnosis.truncated` of the responses reach the limit, and there is a signal (`cut_off`)."""
    now = history.now(TRUNCATED)
    if now is None or not now > settings.truncated * ease:
        return None
    if (none := cause(history, settings, ease)) is not None and none[0] is Cause.cut:
        return None
    text = (
        f"{now:.0%} of the responses in {history.steps} were cut off at rollout.max_tokens "
        f"({history.context.max_tokens})"
    )
    return Evidence(text, {"truncated": now, "max_tokens": float(history.context.max_tokens)})


@rule(
    "responses growing into the limit",
    "soon the limit will decide the reward; raise rollout.max_tokens, or take "
    "algorithm/shaping=soft_overlong",
    change=("rollout.max_tokens", "algorithm/shaping=soft_overlong"),
    symptom="responses-are-cut-off",
    shows=samples.cut,
)
def length_growth(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Responses are 1.3 times as long as at the start, and more than 5% (but not yet `diagnosis.truncated`)
    reach the limit, on average over two windows as well, where fewer did at the start."""
    length, cut = history.change(LENGTH), history.change(TRUNCATED)
    if length is None or cut is None:
        return None
    growing = length[1] > GROWTH * length[0] * ease
    near = max(NEAR * ease, cut[0]) < cut[1] <= settings.truncated
    # One window of small batches, each with none or one or two cut, has a median above 5% by chance.
    lasting = fmean(history.values(TRUNCATED)[-2 * history.window :]) > NEAR * ease
    if not (growing and near and lasting):
        return None
    text = (
        f"responses grew from {length[0]:.0f} to {length[1]:.0f} tokens in {history.length} steps and "
        f"{cut[1]:.0%} now reach rollout.max_tokens ({history.context.max_tokens})"
    )
    return Evidence(text, {"start": length[0], "now": length[1], "truncated": cut[1]})


@rule(
    "collapse of the response length",
    "the policy gives up reasoning; look at rollouts/ for what short responses earn, check algorithm.shaping "
    "(length penalties) and the verifiers, or lower trainer.lr",
    change=("algorithm.shaping", "trainer.lr"),
    symptom="responses-get-longer-or-shorter",
)
def length_collapse(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Responses are less than half as long as at the start and no more of them are correct."""
    change = history.change(LENGTH)
    if change is None or not change[1] < SHRUNK * change[0] / ease:
        return None
    if history.has_risen("reward/correct_fraction", errors=1):  # it has learned to be brief
        return None
    text = (
        f"responses shrank from {change[0]:.0f} to {change[1]:.0f} tokens in {history.length} steps, without "
        "more correct answers"
    )
    return Evidence(text, {"start": change[0], "now": change[1]})
