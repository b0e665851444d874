"""verl's loss modes and how they add up -> one option of the loss, one of the aggregation."""

from __future__ import annotations

from typing import Any

from rlvr_cli.convert.draft import Draft

ACTOR = "actor_rollout_ref.actor."
POLICY = ACTOR + "policy_loss."
MODE = POLICY + "loss_mode"
LOSSES = {
    **{"vanilla": "clipped", "gspo": "sequence_ratio", "cispo": "clipped_weight", "gpg": "reinforce"},
    **{"dppo_tv": "divergence_mask", "dppo_kl": "divergence_mask", "sapo": "soft_gate"},
    **{"geo_mean": "geometric_clip", "clip_cov": "clip_cov", "kl_cov": "kl_cov", "dro": "squared_ratio"},
}
PRESETS = {
    **{"gspo": "gspo", "cispo": "cispo", "dppo_tv": "dppo_tv", "dppo_kl": "dppo_kl", "sapo": "sapo"},
    **{"geo_mean": "gmpo", "clip_cov": "clip_cov", "kl_cov": "kl_cov"},
}
"""Mode -> the preset that differs least."""
BOUNDS = {
    "clipped": "clip_ratio",
    "sequence_ratio": "clip_ratio",
    "clipped_weight": "clip_ratio",
    "clip_cov": "clip_ratio",
    "divergence_mask": "delta",
    "geometric_clip": "log_clip",
}
"""Option -> what its two bounds are called, which are verl's clip_ratio_low and clip_ratio_high."""
BY_SEQUENCE = ("gspo", "sapo", "geo_mean")
"""Modes that take the mean of sequence means whatever loss_agg_mode says."""
AGGREGATIONS = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "seq_mean_token_mean",
    "seq-mean-token-sum": "seq_mean_token_sum",
    "seq-mean-token-sum-norm": "constant",
}
VALUES = {
    "sapo": {"tau_positive": ACTOR + "tau_pos", "tau_negative": ACTOR + "tau_neg"},
    "clip_cov": {
        "fraction": POLICY + "clip_cov_ratio",
        "cov_low": POLICY + "clip_cov_lb",
        "cov_high": POLICY + "clip_cov_ub",
    },
    "kl_cov": {"fraction": POLICY + "kl_cov_ratio", "coef": POLICY + "ppo_kl_coef"},
    "dro": {"beta": POLICY + "dro_beta"},
}
"""Mode -> our key of the loss -> theirs."""


def convert(draft: Draft) -> None:
    given = draft.given
    mode = given.get(MODE)
    loss = LOSSES.get(mode, "clipped")
    if mode not in LOSSES:
        given.lose(MODE, "there is no such loss; clipped stands in its place")
        given.settle(f"algorithm/loss: {mode} is not there; clipped is a guess")
    draft.choose("loss", loss, draft.origin(MODE) + f" {mode}", MODE)
    if loss in BOUNDS:
        _bounds(draft, loss)
    for ours, theirs in VALUES.get(mode, {}).items():
        draft.copy(f"algorithm.loss.{ours}", theirs)
    cap = ACTOR + "clip_ratio_c"
    if loss in ("clipped", "clip_cov"):
        draft.put("algorithm.loss.dual_clip", given.get(cap), draft.origin(cap), cap)
    elif loss == "divergence_mask":
        draft.put("algorithm.loss.kind", mode.removeprefix("dppo_"), f"{mode}")
        draft.put("algorithm.loss.anchor", "old", "verl compares with what it calls old")
        draft.put("algorithm.loss.cap", given.get(cap), draft.origin(cap), cap)
    _aggregation(draft, mode)


def _bounds(draft: Draft, loss: str) -> None:
    given = draft.given
    for side in ("low", "high"):
        own = ACTOR + f"clip_ratio_{side}"
        name = own if given.has(own) and given.get(own) is not None else ACTOR + "clip_ratio"
        bound: Any = given.get(name)
        comment = draft.origin(name)
        if loss == "clipped_weight" and side == "low" and bound >= 1:
            bound, comment = None, f"1 - {bound} is below 0: no bound"
        draft.put(f"algorithm.loss.{BOUNDS[loss]}_{side}", bound, comment, name)


def _aggregation(draft: Draft, mode: Any) -> None:
    given, key = draft.given, ACTOR + "loss_agg_mode"
    how = "seq-mean-token-mean" if mode in BY_SEQUENCE else given.get(key)
    if how not in AGGREGATIONS:
        given.lose(key, "there is no such aggregation; token_mean stands in its place")
        given.settle(f"algorithm/aggregation: {how} is not there; token_mean is a guess")
    comment = f"of {mode}, whatever loss_agg_mode says" if mode in BY_SEQUENCE else draft.origin(key)
    draft.choose("aggregation", AGGREGATIONS.get(how, "token_mean"), comment, key)
    if how == "seq-mean-token-sum-norm":
        scale = ACTOR + "loss_scale_factor"
        factor = given.get(scale) or given.get("data.max_response_length")
        draft.put("algorithm.aggregation.length", factor, "loss_scale_factor, or max_response_length", scale)
