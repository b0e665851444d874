"""What a reward says of itself, without a second verifier: it jumps, it rises alone, it pays for length."""

from __future__ import annotations

from statistics import fmean

from rlvr_cli.diagnosis import Evidence, rule, samples
from rlvr_cli.diagnosis.history import History
from rlvr_cli.diagnosis.learning import CORRECT, SOLVED
from rlvr_cli.diagnosis.statistics import noise
from rlvr_cli.schema import Diagnosis

REWARD, SPREAD = "reward/mean", "reward/std"
LENGTH, PAYS = "response_length/mean", "reward/length_correlation"
SUDDEN = 5.0
"""Noise of a step's mean reward by which a jump exceeds what was to be expected."""
EFFECT = 0.5
"""Of the spread of single samples: less than that is no jump, however little the means vary."""
ALONE = 6.0
"""Standard errors of a rise that correctness has no part in."""
WINDOWS = 6
"""Before that a rise of the format alone is how many a run begins."""
LONGER = 1.2
PAID = 0.3


@rule(
    "a jump of the reward",
    "learning is gradual, and a trick that is found or other data is not; read rollouts/ of the steps before "
    "and after for what pays now, and judge some of them with a second verifier "
    "(diagnosis.second_verifier)",
    change=("verifiers.{verifier}", "diagnosis.second_verifier"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    shows=samples.right,
)
def reward_jump(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Every mean reward of the newest half window is above all of the window before, and their mean is above
    that window's course by five times the noise of a step and by half the spread of single samples
    (`reward/std`)."""
    values, window = history.values(REWARD), history.window
    spread, half = history.now(SPREAD), max(2, window // 2)
    if spread is None or len(values) < 2 * window or window < half + 2:
        return None
    recent, before = values[-half:], values[-half - window : -half]
    level, now = fmean(before), fmean(recent)
    slope = (fmean(before[-half:]) - fmean(before[:half])) / (window - half)
    expected = level + max(0.0, slope) * (window + half) / 2
    usual = max(noise(values[:-half]), noise(before))
    jump = now - expected
    sudden = jump > SUDDEN * ease * usual and jump > EFFECT * ease * spread
    if not sudden or min(recent) <= max(before):
        return None
    steps = [int(row["step"]) for row in history.rows if REWARD in row]
    text = (
        f"the mean reward jumped from {level:.2f} (steps {steps[-half - window]} to {steps[-half - 1]}) to "
        f"{now:.2f} (steps {steps[-half]} to {steps[-1]}), and {expected:.2f} was to be expected give or "
        f"take {usual:.2f}"
    )
    return Evidence(text, {"before": level, "now": now, "expected": expected, "noise": usual})


@rule(
    "a reward that rises without correctness",
    "something else than being right is paid for: a format, partial credit, a length; see which verifier "
    "rises (reward/<verifier>/mean), lower its weight, or pay it only with a right answer, and see what "
    "algorithm.shaping adds",
    change=("verifiers", "algorithm.shaping", "data.{source}.verifiers"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    shows=samples.wrong,
)
def reward_alone(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """After six windows: the mean reward has risen by six standard errors (Welch), and the share of correct
    samples, some and below 90%, by less than one."""
    if history.count(REWARD) < WINDOWS * history.window:
        return None
    if not history.has_risen(REWARD, errors=ALONE * ease) or history.has_risen(CORRECT, errors=1 / ease):
        return None
    correct, start = (
        fmean(rows) for rows in (history.last(CORRECT) or [0.0], history.first(CORRECT) or [0.0])
    )
    if not 0 < correct < SOLVED:
        return None
    first, last = fmean(history.first(REWARD)), fmean(history.last(REWARD))
    text = (
        f"the mean reward rose from {first:.2f} to {last:.2f} in {history.length} steps, while "
        f"{start:.1%} of the samples were correct at the start and {correct:.1%} are now"
    )
    return Evidence(text, {"start": first, "now": last, "correct_start": start, "correct_now": correct})


@rule(
    "length that pays",
    "of two samples of a problem the longer one earns more, and the policy follows; see in rollouts/ whether "
    "it reasons or fills, take a loss without a bias for length (algorithm.aggregation), pay for brevity "
    "(algorithm.shaping) or against repetition (the verifier repetition in data.<source>.verifiers)",
    change=("algorithm.aggregation", "algorithm.shaping", "data.{source}.verifiers"),
    symptom="responses-get-longer-or-shorter",
)
def length_pays(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Reward and length correlate by more than 0.3 within groups, responses are 1.2 times as long as at the
    start, and no more of them are correct."""
    length, pays = history.change(LENGTH), history.now(PAYS)
    if length is None or pays is None or not pays > PAID * ease:
        return None
    if not length[1] > LONGER * ease * length[0] or history.has_risen(CORRECT, errors=1 / ease):
        return None
    text = (
        f"reward and length of the samples of a problem correlate by {pays:.2f} in {history.steps}, and "
        f"responses grew from {length[0]:.0f} to {length[1]:.0f} tokens in {history.length} steps without "
        "more correct answers"
    )
    return Evidence(text, {"correlation": pays, "start": length[0], "now": length[1]})
