"""What the verifiers say: missing verdicts, refusals, a reward that a second verifier does not confirm."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from rlvr_cli.diagnosis import Evidence, rule, samples
from rlvr_cli.diagnosis.history import UNKNOWN, History, Row
from rlvr_cli.diagnosis.statistics import rise, wilson
from rlvr_cli.schema import Diagnosis

CHECKED = "audit/accepted"
REJECTED = "audit/rejected"
MOSTLY = 0.5
"""Of what the first verifier accepts: if the second rejects more, the first is wrong from the start. Of all
verdicts: if more are missing, there is nothing to learn from."""
COSTLY = 0.05
Z999 = 3.290527
"""Standard errors of 99.9% intervals: it is asked after every step, and chance has many tries."""


@rule(
    "no verdicts",
    "nothing is learned from them; mend what judges (verifiers.<name>: is its server up, can its program "
    "start?), then look at verification.timeout_s and verification.workers",
    change=("verifiers.{verifier}", "verification.timeout_s"),
    symptom="there-are-no-verdicts",
    critical=True,
    shows=samples.unjudged,
)
def no_verdicts(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Half of the verdicts of the window or more are missing."""
    missing = _missing(history)
    if missing is None or missing.rate < MOSTLY * ease:
        return None
    return missing.evidence(history)


@rule(
    "lost verdicts",
    "these samples are paid for and teach nothing; raise verification.timeout_s or verification.workers, "
    "for crashes verification.memory_mb, and see rollouts/ for the responses",
    change=("verification.timeout_s", "verification.workers", "verification.memory_mb"),
    symptom="there-are-no-verdicts",
    shows=samples.unjudged,
)
def verdicts_lost(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.unscored` of the verdicts of the window are missing, in at least half of its steps, and
    less than half of all (`no_verdicts`)."""
    missing = _missing(history)
    if missing is None or missing.rate >= MOSTLY or not missing.rate > settings.unscored * ease:
        return None
    return missing.evidence(history) if 2 * missing.steps >= history.window else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missing:
    rate: float
    """Mean over the window of the share of samples without a verdict."""
    steps: int
    """Those with any."""
    timeout: float
    crash: float

    def evidence(self, history: History) -> Evidence:
        text = (
            f"{self.rate:.1%} of the samples in {history.steps} have no verdict (of all verdicts "
            f"{self.timeout:.1%} timed out and {self.crash:.1%} crashed)"
        )
        return Evidence(text, {"unscored": self.rate, "timeout": self.timeout, "crash": self.crash})


def _missing(history: History) -> _Missing | None:
    lost = {name: history.last(f"reward/{name}_fraction") for name in ("unscored", "timeout", "crash")}
    if not lost["unscored"]:
        return None
    rates = [max(values) for values in zip(*(v for v in lost.values() if v), strict=True)]
    means = {name: fmean(lost[name]) if lost[name] else 0.0 for name in ("timeout", "crash")}
    return _Missing(rate=fmean(rates), steps=sum(map(bool, rates)), **means)


@rule(
    "answers that cost the verifier its time",
    "the policy learns what its verifier cannot judge: too large, too slow, ambiguous; such answers score 0, "
    "so see in rollouts/ what else pays for them, bound responses (algorithm.shaping), and lower trainer.lr",
    change=("verifiers.{verifier}", "algorithm.shaping", "trainer.lr"),
    symptom="verifiers-time-out",
    shows=samples.costly,
)
def refusals_rising(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The share of verdicts that are refusals or timeouts is above 5%, and above that of the first window by
    three standard errors and twofold."""
    early, late = _costly(history.rows[: history.window]), _costly(history.rows[-history.window :])
    if len(history.rows) < 2 * history.window or len(early) < 2 or len(late) < 2:
        return None
    was, now = fmean(early), fmean(late)
    if not now > max(COSTLY, 2 * was) * ease or not rise(early, late) > 3 * ease:
        return None
    text = (
        f"{now:.1%} of the verdicts in {history.steps} are refusals or timeouts, and {was:.1%} were in the "
        f"first {history.window} steps"
    )
    return Evidence(text, {"start": was, "now": now})


def _costly(rows: list[Row]) -> list[float]:
    names = ("reward/refused_fraction", "reward/timeout_fraction")
    return [sum(row.get(name, 0.0) for name in names) for row in rows if names[0] in row]


@rule(
    "a reward that is not earned",
    "the policy learns what pleases the verifier; read rollouts/ for samples the two disagree on, mend "
    "the first verifier, or train on both (data.<source>.verifiers)",
    change=("verifiers.{verifier}", "data.{source}.verifiers"),
    symptom="the-reward-rises-and-the-evaluation-does-not",
    critical=True,
    shows=samples.disputed,
)
def reward_hacking(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Of the samples that the first verifier accepts, the second rejects a share whose 99.9% interval
    (Wilson) lies above that of the first window while the share of correct samples rises; or above one
    half (95%)."""
    if history.count(CHECKED) < 2 * settings.window:
        return None
    early = sum(history.first(REJECTED)), sum(history.first(CHECKED))
    late = sum(history.last(REJECTED)), sum(history.last(CHECKED))
    low, high = wilson(*late)
    risen = history.has_risen("reward/correct_fraction")
    apart = wilson(*late, Z999)[0] > wilson(*early, Z999)[1] * ease
    grown = apart and (risen or ease < 1)
    if not late[1] or not (grown or low > MOSTLY * ease):
        return None
    return _evidence(history, early, late, (low, high))


def _evidence(
    history: History, early: tuple[float, float], late: tuple[float, float], interval: tuple[float, float]
) -> Evidence:
    """`early` and `late`: samples (rejected by the second, accepted by the first) in their windows."""
    reward, second = history.change("reward/correct_fraction"), history.change("audit/correct_fraction")
    was, now = (r / a if a else 0.0 for r, a in (early, late))
    first, other = history.context.first_verifier, history.context.second_verifier or "the second verifier"
    shown = "the first verifier" if first == UNKNOWN else f"'{first}'"
    text = (
        f"of the samples {shown} accepts, '{other}' rejects {now:.0%} (95% interval "
        f"{interval[0]:.0%} to {interval[1]:.0%}; {was:.0%} at the start)"
    )
    values = {"rejected": now, "low": interval[0], "high": interval[1], "rejected_at_start": was}
    if reward and second:
        text += (
            f", and the correct share went from {reward[0]:.2f} to {reward[1]:.2f} by the first and from "
            f"{second[0]:.2f} to {second[1]:.2f} by the second"
        )
        values |= {"first": reward[1], "second": second[1]}
    return Evidence(text, values)
