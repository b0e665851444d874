"""Metrics of a step's updates, under the names of docs/metrics.md."""

from __future__ import annotations

import math

import numpy as np

from rlvr_cli.algorithms.mismatch_metrics import derived
from rlvr_cli.core.types import Group
from rlvr_cli.training.metrics import mean

NAMES = {
    "mismatch_k1": "mismatch/k1",
    "mismatch_k3": "mismatch/k3",
    "mismatch_abs": "mismatch/mean_abs",
    "mismatch_extreme": "mismatch/extreme_fraction",
    "mismatch_max": "mismatch/max",
    "mismatch_rho": "mismatch/rho_mean",
    "mismatch_rho_max": "mismatch/rho_max",
    "mismatch_weight": "mismatch/weight_mean",
    "mismatch_ess": "mismatch/ess",
    "mismatch_rho_ess": "mismatch/rho_ess",
    "mismatch_chi2": "mismatch/chi2",
    "mismatch_sequence_chi2": "mismatch/sequence_chi2",
    "mismatch_probability": "mismatch/probability_mean",
    "mismatch_probability_std": "mismatch/probability_std",
    "mismatch_probability_max": "mismatch/probability_max",
    "mismatch_pearson": "mismatch/pearson",
    "mismatch_trainer_ppl": "mismatch/trainer_ppl",
    "mismatch_rollout_ppl": "mismatch/rollout_ppl",
    "mismatch_ppl_ratio": "mismatch/ppl_ratio",
    "mismatch_log_ppl": "mismatch/log_ppl_mean",
    "mismatch_log_ppl_abs": "mismatch/log_ppl_abs",
    "mismatch_log_ppl_max": "mismatch/log_ppl_max",
    "mismatch_kept": "mismatch/kept_fraction",
    "mismatch_kept_positive": "mismatch/kept_fraction_positive",
    "mismatch_kept_negative": "mismatch/kept_fraction_negative",
    "mismatch_capped": "mismatch/capped_fraction",
    "distillation_kl": "distillation/kl",
    "teacher_logprob": "distillation/teacher_logprob",
    "student_mass": "distillation/student_mass",
    "teacher_mass": "distillation/teacher_mass",
}
"""Metrics of an update that are not called actor/<name>."""
MAXIMA = {"mismatch_max", "mismatch_rho_max", "mismatch_probability_max", "mismatch_log_ppl_max"}
"""Those of which a step has the largest of its updates."""


def update_metrics(updates: list[dict[str, float]], kept: list[Group], lr: float) -> dict[str, float]:
    """Mean over the step's updates; the largest of those that name a maximum."""
    updates = [derived(update) for update in updates]
    names = sorted(set().union(*updates)) if updates else []
    out = {}
    for name in names:
        values = [u[name] for u in updates if name in u]
        out[NAMES.get(name, f"actor/{name}")] = max(values) if name in MAXIMA else mean(values)
    advantages = [a for g in kept for a in g.advantages if not math.isnan(a)]
    if advantages:
        out["actor/advantage_mean"] = float(np.mean(advantages))
        out["actor/advantage_std"] = float(np.std(advantages))
    return out | {"actor/lr": lr, "actor/updates": float(len(updates))}
