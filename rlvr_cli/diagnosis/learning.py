"""Whether there is anything to learn from, and whether it is learned."""

from __future__ import annotations

from statistics import fmean

from rlvr_cli.diagnosis import Evidence, rule
from rlvr_cli.diagnosis.history import History, Row, rise
from rlvr_cli.schema import Diagnosis

CORRECT = "reward/correct_fraction"
PATIENCE = 12
"""Windows of steps before a flat reward is spoken of."""
STIRRED = 0.02


def _no_signal(history: History, settings: Diagnosis, ease: float) -> tuple[float, float, float] | None:
    """Shares of groups without a signal, all correct and all wrong, if the first is too high."""
    names = ("zero_signal", "all_correct", "all_wrong")
    values = [history.now(f"group/{name}_fraction") for name in names]
    if not history.context.grouped:  # the batch is compared, not the group: equal only if all of it is
        share = history.now(CORRECT)
        even = share is not None and (share == 0 or share == 1)
        return (1.0, float(share == 1), float(share == 0)) if even else None
    zero, right, wrong = (v if v is not None else 0.0 for v in values)
    return (zero, right, wrong) if zero > settings.zero_signal * ease else None


@rule(
    "problems too hard",
    "these problems teach nothing; take easier ones or mix them in (data.<source>.weight), raise "
    "batch.group_size or rollout.max_tokens, start from a better model (rlvr sft), and see in rollouts/ "
    "why answers are refused",
    critical=True,
)
def all_wrong(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, mostly because all samples are wrong."""
    found = _no_signal(history, settings, ease)
    if found is None or found[1] > found[2]:
        return None
    text = (
        f"{found[2]:.0%} of the groups in {history.steps} had not one correct sample "
        f"({found[0]:.0%} had no signal)"
    )
    return Evidence(text, {"zero_signal": found[0], "all_wrong": found[2]})


@rule(
    "problems too easy",
    "these problems have nothing left to teach; take harder ones (data.<source>.weight), drop solved groups "
    "(algorithm/filter=zero_signal), and make sure that the verifier can say no",
)
def all_right(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, mostly because all samples are right."""
    found = _no_signal(history, settings, ease)
    if found is None or found[1] <= found[2]:
        return None
    text = (
        f"{found[1]:.0%} of the groups in {history.steps} had only correct samples "
        f"({found[0]:.0%} had no signal)"
    )
    return Evidence(text, {"zero_signal": found[0], "all_right": found[1]})


@rule(
    "one answer to everything",
    "the policy answers without reading the problem; look at rollouts/, lower trainer.lr, and see that "
    "the gold answers differ",
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
)
def no_learning(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """After twelve windows the share of correct samples is where it was at the start: below 90%, no more than
    0.02 and two standard errors apart, in every third of the run."""
    values, size = history.values(CORRECT), settings.window * PATIENCE
    if len(values) < size or history.staged:  # after a stage that taught something, the next may teach less
        return None
    third = len(values) // 3
    parts = [values[:third], values[third : 2 * third], values[2 * third :]]
    means = [fmean(part) for part in parts]
    moved = any(abs(m - means[0]) > STIRRED / ease for m in means[1:])
    if moved or means[-1] > 0.9 or any(abs(rise(parts[0], part)) > 2 / ease for part in parts[1:]):
        return None
    text = (
        f"after {len(values)} steps {means[-1]:.1%} of the samples are correct, and {means[0]:.1%} were in "
        "the first third"
    )
    return Evidence(text, {"start": means[0], "now": means[-1]})


@rule(
    "worse evaluation",
    "training makes the model worse; go back to the best checkpoint (checkpoint.best keeps it), lower "
    "trainer.lr, and compare the training reward with what the bench asks",
    critical=True,
    of_evaluations=True,
)
def eval_regression(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """A bench's newest 95% interval lies below that of its best evaluation so far."""
    found = [_regression(bench, rows) for bench, rows in history.evaluations.items()]
    worst = min((e for e in found if e), key=lambda e: e.values["now"] - e.values["best"], default=None)
    return worst


def _regression(bench: str, rows: list[Row]) -> Evidence | None:
    def of(row: Row, metric: str) -> float | None:
        return next((v for k, v in row.items() if k.startswith(f"eval/{bench}/{metric}")), None)

    latest = rows[-1]
    scored = [(score, row) for row in rows if (score := of(row, "avg@")) is not None]
    if len(scored) < 2 or scored[-1][1] is not latest:
        return None
    best, before = max(scored, key=lambda pair: pair[0])
    now, high, low = scored[-1][0], of(latest, "ci95_high"), of(before, "ci95_low")
    if high is None or low is None or high >= low:
        return None
    text = (
        f"{bench} fell from {best:.1%} after step {before['step']:.0f} to {now:.1%} after step "
        f"{latest['step']:.0f}, further than the 95% intervals"
    )
    return Evidence(text, {"best": best, "now": now, "best_step": before["step"]})
