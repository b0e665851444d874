"""What becomes of the policy: entropy, distance to the reference, gradients, the engine's copy of it."""

from __future__ import annotations

from statistics import median

from rlvr_cli.diagnosis import Evidence, rule
from rlvr_cli.diagnosis.history import History
from rlvr_cli.schema import Diagnosis

ENTROPY = "actor/entropy"
KL = "actor/ref_kl"
CORRECT = "reward/correct_fraction"
NORM = "actor/grad_norm"

COLLAPSED = 0.1
"""Of the entropy at the start."""
FLAT_NATS = 0.05
"""A model that starts near the entropy of its vocabulary loses most of it by learning: that is none."""
EXPLODED = 3.0
EXPLODED_NATS = 0.5
DRIFT = 0.8
"""KL per token in units of the entropy at the start; runs that learn stay below about 0.4."""
DRIFT_LEAST = 0.05
GRADIENT = 5.0
MISMATCH = 2e-3
"""k3 in nats per token; bf16 engines show up to 1e-3, mixtures of experts 1.5e-3 (R3, 2510.11370)."""
MISMATCH_GROWTH = 5.0
MISMATCH_HIGH = 0.1
MISMATCH_SYNCED = 20.0
K3 = "mismatch/k3"
STALENESS = "staleness/mean"


@rule(
    "entropy collapse",
    "the policy has stopped exploring; lower trainer.lr, add an entropy bonus "
    "(algorithm/entropy=adaptive), or where batch.updates_per_step is above 1 raise "
    "algorithm.loss.clip_ratio_high",
    change=("trainer.lr", "algorithm/entropy=adaptive"),
    symptom="the-entropy-collapses",
    critical=True,
)
def entropy_collapse(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The entropy is below a tenth of its start and below 0.05 nats, and the problems are not solved."""
    change, solved = history.change(ENTROPY), history.now(CORRECT)
    if change is None or (solved is not None and solved > 0.95):
        return None
    start, now = change
    if not (now < COLLAPSED * start / ease and now < FLAT_NATS / ease):
        return None
    text = (
        f"entropy fell from {start:.2g} to {now:.2g} nats per token in {history.length} steps "
        f"(to {_share(now, start)} of its start)"
    )
    return Evidence(text, {"start": start, "now": now})


@rule(
    "entropy explosion",
    "the policy is falling apart; lower trainer.lr, lower algorithm.entropy.coef if there is a bonus, and "
    "go back to a checkpoint from before",
    change=("trainer.lr", "algorithm.entropy.coef"),
    symptom="the-reward-falls",
    critical=True,
)
def entropy_explosion(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The entropy is above three times its start and half a nat above it."""
    change = history.change(ENTROPY)
    if change is None:
        return None
    start, now = change
    if not (now > EXPLODED * start * ease and now - start > EXPLODED_NATS * ease):
        return None
    text = f"entropy rose from {start:.2g} to {now:.2g} nats per token in {history.length} steps"
    return Evidence(text, {"start": start, "now": now})


@rule(
    "drift from the reference",
    "the policy is no longer the model it was; lower trainer.lr, penalise the KL (algorithm/kl=loss, "
    "algorithm.kl.coef), and look at what is rewarded",
    change=("trainer.lr", "algorithm.kl.coef"),
    symptom="the-reward-falls",
)
def kl_drift(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The KL to the reference is above 0.8 of the entropy at the start and the reward has not risen, or the
    KL is above `diagnosis.ref_kl`."""
    now, entropy, reward = history.now(KL), history.change(ENTROPY), history.change("reward/mean")
    if now is None or entropy is None or reward is None:
        return None
    idle = now > max(DRIFT * entropy[0], DRIFT_LEAST) * ease and not history.has_risen(
        "reward/mean", errors=1
    )
    if not idle and not now > settings.ref_kl * ease:
        return None
    text = (
        f"the KL to the reference is {now:.2g} nats per token ({now / max(entropy[0], 1e-9):.1f} times the "
        f"entropy at the start), while the mean reward went from {reward[0]:.2f} to {reward[1]:.2f}"
    )
    return Evidence(text, {"ref_kl": now, "entropy": entropy[0], "reward": reward[1]})


@rule(
    "growing gradients",
    "updates are getting erratic; lower trainer.lr or algorithm.gradient.max_norm, or set "
    "algorithm/gradient=layer_clip",
    change=("trainer.lr", "algorithm.gradient.max_norm"),
    symptom="the-reward-falls",
)
def gradient_explosion(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """The gradient norm is above five times its start."""
    change = history.change(NORM)
    if change is None or not change[0] > 0 or not change[1] > GRADIENT * change[0] * ease:
        return None
    start, now = change
    text = f"the gradient norm rose from {start:.2g} to {now:.2g} in {history.length} steps"
    return Evidence(text, {"start": start, "now": now})


@rule(
    "gradient spikes",
    "single samples dominate updates; find them with algorithm.gradient.localise=true, lower "
    "algorithm.gradient.max_norm, or set algorithm/gradient=layer_clip",
    change=("algorithm.gradient.max_norm", "algorithm/gradient=layer_clip"),
    symptom="the-reward-falls",
)
def gradient_spikes(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """At least two steps of the window, and at most half of them, have a gradient norm above ten times the
    median before it, and the newest has not."""
    values, window = history.values(NORM), settings.window
    if len(values) < 2 * window:
        return None
    usual = median(values[-2 * window : -window])
    spikes = [v for v in values[-window:] if v > 10 * usual * ease]
    if usual <= 0 or not 2 <= len(spikes) <= window // 2 or values[-1] in spikes:  # those stay: an explosion
        return None
    text = (
        f"{len(spikes)} of {window} steps ({history.steps}) had a gradient norm of up to "
        f"{max(spikes):.2g}, and {usual:.2g} was usual before"
    )
    return Evidence(text, {"spikes": float(len(spikes)), "largest": max(spikes), "usual": usual})


@rule(
    "growing mismatch of engine and trainer",
    "the samples come from another policy than the one that is trained; correct for it "
    "(algorithm/mismatch=truncate), compute in fp32 (trainer.precision, rollout.dtype), or lower trainer.lr",
    change=("algorithm/mismatch=truncate", "rollout.dtype"),
    symptom="the-engine-and-the-trainer-differ",
    critical=True,
)
def mismatch_growth(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """k3 of engine and trainer is above 0.002 and five times its start, or 20 times that of the run's first
    step, which samples from the start model (not with `rollout.max_staleness`), or above 0.1."""
    now, change = history.now(K3), history.change(K3)
    if now is None:
        return None
    if (fresh := _before_syncs(history)) is not None and now > max(MISMATCH, MISMATCH_SYNCED * fresh) * ease:
        text = (
            f"the mismatch of engine and trainer (mismatch/k3) is {now:.1e} nats a token in {history.steps} "
            f"and was {fresh:.1e} in the first step: weight syncs leave something old in the engine, such as "
            "a cache, or updates take it far away"
        )
        return Evidence(text, {"start": fresh, "now": now})
    if change is None:
        return None
    start = change[0]
    grown = now > max(MISMATCH, MISMATCH_GROWTH * start) * ease
    if not grown and not now > MISMATCH_HIGH * ease:
        return None
    text = (
        f"the mismatch of engine and trainer (mismatch/k3) went from {start:.1e} to {now:.1e} nats per token "
        f"in {history.length} steps"
    )
    return Evidence(text, {"start": start, "now": now})


def _before_syncs(history: History) -> float | None:
    """k3 of the step whose samples no weight sync came before; None: the stage has none, or samples age."""
    if history.staged or history.values(STALENESS) or history.rows[0]["step"] != 1:
        return None
    return history.values(K3)[0]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0 else "none"
