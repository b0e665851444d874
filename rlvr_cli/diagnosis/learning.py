"""Whether anything is learned, and that no more is claimed than the noise allows."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from rlvr_cli.diagnosis import Asked, Evidence, rule
from rlvr_cli.diagnosis.evaluations import LIKELY, gain
from rlvr_cli.diagnosis.history import History
from rlvr_cli.diagnosis.statistics import Change, change_of, welch
from rlvr_cli.schema import Diagnosis

CORRECT = "reward/correct_fraction"
PATIENCE = 12
"""Windows of steps before a flat reward is spoken of."""
STIRRED = 0.02
SOLVED = 0.9
"""Share of correct samples from which a flat reward needs no excuse."""
ONE_OF_TWO = 0.9875
"""Quantile of one of two 95% intervals that hold together."""
LEAST = 6
"""Steps of which a trend is spoken at all: two in each third."""


@rule(
    "one answer to everything",
    "the policy answers without reading the problem; look at rollouts/, lower trainer.lr, and see that "
    "the gold answers differ",
    change=("trainer.lr", "data.{source}"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    critical=True,
)
def same_answer(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """One extracted answer makes up over 80% of the samples, and no gold answer half as large a share."""
    now, gold = history.now("answers/commonest_fraction"), history.now("answers/commonest_gold_fraction")
    if now is None or gold is None or not (now > 0.8 * ease and gold < 0.5 * now):
        return None
    text = (
        f"{now:.0%} of the samples in {history.steps} gave one and the same answer, to problems of which "
        f"{gold:.0%} share one"
    )
    return Evidence(text, {"commonest": now, "gold": gold})


@rule(
    "nothing learned",
    "the reward does not move; raise trainer.lr, check in rollouts/ that the verifier tells good from "
    "bad, or take problems that are neither too hard nor too easy",
    change=("trainer.lr", "data.{source}"),
    symptom="the-reward-is-flat",
)
def no_learning(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """After twelve windows the share of correct samples is where it was at the start: below 90%, no more than
    0.02 and two standard errors apart, in every third of the run."""
    count = history.count(CORRECT)
    if count < settings.window * PATIENCE or history.staged:  # after one that taught, a stage may teach less
        return None
    ends = 0, count // 3, 2 * (count // 3), count
    parts = [history.moments(CORRECT, *pair) for pair in pairwise(ends)]
    means = [part.mean for part in parts]
    moved = any(abs(m - means[0]) > STIRRED / ease for m in means[1:])
    if moved or means[-1] > SOLVED or any(abs(welch(parts[0], part)) > 2 / ease for part in parts[1:]):
        return None
    text = (
        f"after {count} steps {means[-1]:.1%} of the samples are correct, and {means[0]:.1%} were in "
        "the first third"
    )
    return Evidence(text, {"start": means[0], "now": means[-1]})


def trend(history: History) -> Change | None:
    """Of the mean reward from the beginning of the stage to its last third; None for fewer than LEAST steps.

    The beginning is the first third, or the first window where that says more, as of a run that learns fast
    and then stays: the 95% interval holds for both together (Bonferroni).
    """
    values = history.values("reward/mean")
    if len(values) < LEAST:
        return None
    third = len(values) // 3
    last = values[-third:]
    found = [change_of(values[:size], last, ONE_OF_TWO) for size in {third, min(third, history.window)}]
    return max(found, key=lambda each: max(each.low, -each.high))  # the furthest from 0


def _settled(history: History) -> bool:
    """Whether a flat reward is no wonder: solved, a later stage, too few steps, or the benches have risen."""
    correct = history.values(CORRECT)[-history.window :]
    gains = [found for rows in history.evaluations.values() if (found := gain(rows)) is not None]
    return (
        history.staged
        or len(history.rows) < 2 * history.window
        or (bool(correct) and fmean(correct) > SOLVED)
        or any(after.score > before.score and p < LIKELY for before, after, p in gains)
    )


@rule(
    "within noise",
    "that is no evidence of learning; go on for longer, take more prompts a step (batch.prompts_per_step), "
    "raise trainer.lr, and measure before and after on a bench (eval.benches, eval.every)",
    change=("trainer.steps", "batch.prompts_per_step", "trainer.lr"),
    symptom="the-reward-is-flat",
    asked=Asked.end,
)
def within_noise(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """At the end, after two windows or more: the 95% interval of the change of the reward from the
    beginning to the last third of the steps (Welch) holds 0, no bench has risen, and less than 90% are
    correct."""
    found = trend(history)
    if found is None or found.certain or _settled(history):
        return None
    return Evidence(f"{said(found)} after {len(history.rows)} steps", _values(found))


@rule(
    "the reward falls",
    "training makes it worse; lower trainer.lr, hold the policy by a KL penalty (algorithm/kl=loss), and go "
    "back to a checkpoint from before",
    change=("trainer.lr", "algorithm.kl.coef"),
    symptom="the-reward-falls",
    asked=Asked.end,
)
def reward_falls(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """At the end, after two windows or more: the 95% interval of the change of the reward from the
    beginning to the last third of the steps (Welch) lies below 0."""
    found = trend(history)
    if found is None or not found.high < 0 or _settled(history):
        return None
    return Evidence(f"{said(found)} after {len(history.rows)} steps", _values(found))


def said(found: Change) -> str:
    """`reward 0.11 -> 0.15 (first 8 steps, last third): +0.04, 95% interval -0.02 to +0.10`."""
    return (
        f"reward {found.before:.2f} -> {found.after:.2f} (first {found.first} steps, last third): "
        f"{found.after - found.before:+.3f}, 95% interval {found.low:+.3f} to {found.high:+.3f}"
    )


def _values(found: Change) -> dict[str, float]:
    return {"start": found.before, "now": found.after, "low": found.low, "high": found.high}
