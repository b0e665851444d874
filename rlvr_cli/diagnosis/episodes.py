"""What episodes look like: lost by their environment, with tools that fail or are called no more."""

from __future__ import annotations

from statistics import fmean

from rlvr_cli.diagnosis import Evidence, rule, samples
from rlvr_cli.diagnosis.history import History
from rlvr_cli.schema import Diagnosis

FAILED = "episode/ended_failed_fraction"
CALLS, FAILURES = "tool/calls", "tool/failures"
ENOUGH = 20
"""Tool calls of a window, from which on that none is made in another, or that most fail, is no chance."""
MOSTLY = 0.5
"""Of the calls: more than an unpractised policy gets wrong, whose unreadable ones are counted apart."""


@rule(
    "episodes lost by their environment",
    "it is not the policy's doing, and they teach nothing; see what it printed (logs/) and what it waits "
    "for, and raise environments.<name>.step_s or environments.<name>.workers",
    change=("environments.<name>.step_s", "environments.<name>.workers"),
    symptom="there-are-no-verdicts",
    shows=samples.unjudged,
)
def environment_failures(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.unscored` of the episodes of the window ended by a failure of their environment."""
    failed = history.last(FAILED)
    if not failed or not (share := fmean(failed)) > settings.unscored * ease:
        return None
    text = f"the environment failed in {share:.1%} of the episodes in {history.steps}"
    return Evidence(text, {"failed": share})


@rule(
    "tool calls that fail",
    "what they call is broken, or the policy does not know how; read in rollouts/ with which errors, and the "
    "traceback of each in logs/; mend what stands behind the tool, raise environments.<name>.call_s, or say "
    "in the prompt how it is called (data.<source>.prompt)",
    change=("environments.<name>.call_s", "data.{source}.prompt"),
    symptom="the-reward-is-flat",
)
def tools_failing(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over half of the tool calls of the window, of 20 or more, were answered with an error."""
    calls, failed = sum(history.last(CALLS)), sum(history.last(FAILURES))
    if calls < ENOUGH or not failed > MOSTLY * ease * calls:
        return None
    text = (
        f"{failed / calls:.0%} of the {calls:.0f} tool calls in {history.steps} were answered with an error"
    )
    return Evidence(text, {"failed": failed / calls, "calls": calls})


@rule(
    "no tool calls any more",
    "the policy has unlearned to use its tools; see in rollouts/ what their calls were answered with and "
    "what is earned without them, lower trainer.lr, and start from a model that calls them (rlvr sft)",
    change=("trainer.lr", "data.{source}.prompt"),
    symptom="the-reward-falls",
)
def tools_unused(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """No tool is called in the newest window, and 20 calls or more were made in the first."""
    if history.count(CALLS) < 2 * history.window:
        return None
    before, now = sum(history.first(CALLS)), sum(history.last(CALLS))
    if now or before < ENOUGH:
        return None
    text = (
        f"no tool was called in {history.steps}, and {before:.0f} calls were made in the first "
        f"{history.window} steps"
    )
    return Evidence(text, {"calls_at_start": before})
