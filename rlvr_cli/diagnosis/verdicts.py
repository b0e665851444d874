"""What the verifiers say: lost verdicts, and a reward that a second verifier does not confirm."""

from __future__ import annotations

from statistics import fmean

from rlvr_cli.diagnosis import Evidence, rule
from rlvr_cli.diagnosis.history import History, wilson
from rlvr_cli.schema import Diagnosis

CHECKED = "audit/accepted"
REJECTED = "audit/rejected"
MOSTLY = 0.5
"""Of what the first verifier accepts: if the second rejects more, the first is wrong from the start."""


@rule(
    "lost verdicts",
    "these samples are paid for and teach nothing; raise verification.timeout_s or verification.workers, "
    "for crashes verification.memory_mb, and see rollouts/ for the responses",
)
def verdicts_lost(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.unscored` of the verdicts of the window are missing, in at least half of its steps."""
    lost = {name: history.last(f"reward/{name}_fraction") for name in ("unscored", "timeout", "crash")}
    if not lost["unscored"]:
        return None
    rates = [max(values) for values in zip(*(v for v in lost.values() if v), strict=True)]
    if not fmean(rates) > settings.unscored * ease or 2 * sum(map(bool, rates)) < len(rates):
        return None
    means = {name: fmean(values) if values else 0.0 for name, values in lost.items()}
    text = (
        f"{fmean(rates):.1%} of the samples in {history.steps} have no verdict (of all verdicts "
        f"{means['timeout']:.1%} timed out and {means['crash']:.1%} crashed)"
    )
    return Evidence(text, means)


@rule(
    "a reward that is not earned",
    "the policy learns what pleases the verifier; read rollouts/ for samples the two disagree on, mend "
    "the first verifier, or train on both (data.<source>.verifiers)",
    critical=True,
)
def reward_hacking(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Of the samples that the first verifier accepts, the second rejects a share whose 95% interval (Wilson)
    lies above that of the first window while the share of correct samples rises, or above one half."""
    if history.count(CHECKED) < 2 * settings.window:
        return None
    early = sum(history.first(REJECTED)), sum(history.first(CHECKED))
    late = sum(history.last(REJECTED)), sum(history.last(CHECKED))
    low, high = wilson(*late)
    risen = history.has_risen("reward/correct_fraction")
    grown = low > wilson(*early)[1] * ease and (risen or ease < 1)
    if not late[1] or not (grown or low > MOSTLY * ease):
        return None
    return _evidence(history, early, late, (low, high))


def _evidence(
    history: History, early: tuple[float, float], late: tuple[float, float], interval: tuple[float, float]
) -> Evidence:
    """`early` and `late`: samples (rejected by the second, accepted by the first) in their windows."""
    reward, second = history.change("reward/correct_fraction"), history.change("audit/correct_fraction")
    was, now = (r / a if a else 0.0 for r, a in (early, late))
    names = history.context.first_verifier, history.context.second_verifier or "the second verifier"
    text = (
        f"of the samples '{names[0]}' accepts, '{names[1]}' rejects {now:.0%} (95% interval "
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
