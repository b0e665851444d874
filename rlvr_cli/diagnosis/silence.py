"""Why there is nothing to learn from: one cause, the first that holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from statistics import fmean, median

from rlvr_cli.diagnosis.history import History
from rlvr_cli.diagnosis.statistics import fisher
from rlvr_cli.schema import Diagnosis

CORRECT = "reward/correct_fraction"
SCORE = "reward/score"
MOST = 0.5
"""Share from which something counts as the cause."""
SOME_CREDIT = 0.05
"""Mean score above which samples that are never correct are worth something nevertheless."""
GONE = 0.2
"""Of the score there was: less is lost."""
DOUBT = 0.01
"""p-value below which a score counts as lost, over all places where it may have been."""
LEAST = 64
"""Samples below which problems are not called too hard."""
HAD = 0.02
"""Mean score of the steps before, above which a run has had a signal, lost for certain or not."""


class Cause(Enum):
    """Why there is no signal, in the order in which it is asked."""

    missing = "missing"
    easy = "easy"
    lost = "lost"
    refused = "refused"
    cut = "cut"
    unread = "unread"
    split = "split"
    equal = "equal"
    hard = "hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """No signal: shares of groups without one, of those all right and all wrong, of samples."""

    zero: float
    right: float
    wrong: float
    cut: float
    unread: float
    refused: float
    missing: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A score that was there: where, and how high then and in the newest steps."""

    before: float
    now: float
    last: int
    """The last step with half of it or more."""


def cause(history: History, settings: Diagnosis, ease: float) -> tuple[Cause, Silence] | None:
    """Why there is no signal; None: there is one, or what there is fits no cause."""
    key = f"cause {ease}"
    if key not in history.memory:
        history.memory[key] = _cause(history, settings, ease)
    found: tuple[Cause, Silence] | None = history.memory[key]
    return found


def _cause(history: History, settings: Diagnosis, ease: float) -> tuple[Cause, Silence] | None:
    found = _silence(history, settings, ease)
    if found is None:
        return None
    if found.missing >= MOST:
        return Cause.missing, found
    if found.right > MOST * found.zero:
        return Cause.easy, found
    if lost(history) is not None:
        return Cause.lost, found
    rates = scores(history)
    earlier = rates[: len(rates) - _newest(history)]
    if earlier and fmean(earlier) > max(HAD, 3 * found.score):
        return None  # there was one, and too little to say that it is gone
    if found.refused >= MOST:
        return Cause.refused, found
    if found.cut >= MOST:
        return Cause.cut, found
    if found.unread >= MOST:
        return Cause.unread, found
    if found.right > 0 and found.wrong <= MOST * found.zero:
        return Cause.split, found
    if found.wrong <= 0 or len(history.rows) * history.context.samples < LEAST:
        return None
    return (Cause.equal if found.score > SOME_CREDIT else Cause.hard), found


def _silence(history: History, settings: Diagnosis, ease: float) -> Silence | None:
    names = {
        "zero": "group/zero_signal_fraction",
        "right": "group/all_correct_fraction",
        "wrong": "group/all_wrong_fraction",
        "cut": "response_length/truncated_fraction",
        "unread": "reward/no_answer_fraction",
        "refused": "reward/refused_fraction",
        "missing": "reward/unscored_fraction",
    }
    now = {name: history.now(metric) or 0.0 for name, metric in names.items()}
    recent = scores(history)[-history.window :]
    score = median(recent) if recent else 0.0
    if not history.context.grouped:  # the batch is compared, not the group: equal only if all of it is
        share = history.now(CORRECT)
        even = share is not None and (share == 1 or (share == 0 and score == 0))
        now |= {"zero": float(even), "right": float(even and share == 1), "wrong": float(even and share == 0)}
    return Silence(**now, score=score) if now["zero"] > settings.zero_signal * ease else None


def scores(history: History) -> list[float]:
    """Mean score of each step: partial credit counts, where it is recorded as a share."""
    return history.values(_metric(history))


def _metric(history: History) -> str:
    return SCORE if history.context.shares and history.values(SCORE) else CORRECT


def _newest(history: History) -> int:
    """Steps that are held against those before them."""
    return max(1, min(history.window, len(history.rows)) // 2)


def lost(history: History) -> Lost | None:
    """Whether the newest half window has hardly any of the score that two steps before it had.

    Fisher's exact test, over all samples of these steps and as often as there are places to look.
    """
    rates, size = scores(history), _newest(history)
    before, now = rates[:-size], rates[-size:]
    pairs = [(a + b) / 2 for a, b in pairwise(before)] or before
    if not pairs or fmean(now) >= GONE * max(pairs):
        return None
    count, most = history.context.samples, max(pairs)
    trials = count * min(2, len(before)), count * size
    hits = round(most * trials[0]), round(fmean(now) * trials[1])
    if fisher(hits[0], trials[0], hits[1], trials[1]) * len(pairs) > DOUBT:
        return None
    name = _metric(history)
    last = max(int(row["step"]) for row in history.rows if row.get(name, 0.0) >= most / 2)
    return Lost(before=most, now=fmean(now), last=last)
