"""TRL's algorithm keys -> one option for each axis, with all its values."""

from __future__ import annotations

from rlvr_cli.convert.draft import Draft

AGGREGATIONS = {
    **{"dapo": "token_mean", "cispo": "token_mean"},
    **{"grpo": "seq_mean_token_mean", "dr_grpo": "constant"},
}
MODES = {
    "token_truncate": ("truncate", "token"),
    "sequence_truncate": ("truncate", "sequence"),
    "token_mask": ("mask", "token"),
    "sequence_mask": ("mask", "sequence"),
}


def convert(draft: Draft, updates: int) -> None:
    """After the data: a length penalty among the reward functions has chosen the shaping."""
    draft.preset = "grpo"
    if "shaping" not in draft.options:
        draft.choose("shaping", "identity")
    draft.put("algorithm.shaping.correct", 1.0)
    draft.put("algorithm.shaping.wrong", 0.0)
    draft.choose("filter", "none")
    _advantage(draft)
    _loss(draft)
    _kl(draft)
    _mismatch(draft)
    _entropy(draft)
    _reference(draft, updates)
    share = draft.given.get("top_entropy_quantile")
    if share < 1:
        draft.choose("token_weights", "top_entropy", "top_entropy_quantile", "top_entropy_quantile")
        comment = "the loss is divided by the tokens kept, TRL's by all"
        draft.put("algorithm.token_weights.fraction", share, comment)


def _advantage(draft: Draft) -> None:
    given, key = draft.given, "scale_rewards"
    scale = given.get(key)
    scale = {True: "group", False: "none"}.get(scale, scale) if isinstance(scale, bool) else str(scale)
    if scale == "none":
        draft.choose("advantage", "group_centered", draft.origin(key), key)
        return
    draft.choose("advantage", "group_zscore", draft.origin(key), key)
    draft.put("algorithm.advantage.ddof", 1, "TRL")
    draft.put("algorithm.advantage.eps", 1e-4, "TRL")
    draft.put("algorithm.advantage.scale_by", "batch" if scale == "batch" else "group", draft.origin(key))


def _loss(draft: Draft) -> None:
    given = draft.given
    kind, low, high = given.get("loss_type"), given.get("epsilon"), given.get("epsilon_high")
    if kind not in AGGREGATIONS:
        given.lose("loss_type", "token_mean stands in its place")
        given.settle(f"algorithm/loss: {kind} is not there; clipped with token_mean is a guess")
    by_sequence = given.get("importance_sampling_level") == "sequence"
    given.take("importance_sampling_level")
    name = "epsilon_high" if high is not None else "epsilon"
    if kind == "cispo":
        draft.choose("loss", "clipped_weight", "loss_type cispo", "loss_type")
        draft.put("algorithm.loss.clip_ratio_low", None, "TRL's cispo has none")
        cap = high if high is not None else low
        draft.put("algorithm.loss.clip_ratio_high", cap - 1, f"{cap} - 1: {name} is the cap itself", name)
    else:
        draft.choose(
            "loss", "sequence_ratio" if by_sequence else "clipped", draft.origin("importance_sampling_level")
        )
        draft.put("algorithm.loss.clip_ratio_low", low, draft.origin("epsilon"), "epsilon")
        draft.put("algorithm.loss.clip_ratio_high", low if high is None else high, draft.origin(name), name)
        if not by_sequence:
            draft.put(
                "algorithm.loss.dual_clip",
                given.get("delta"),
                "delta" if given.has("delta") else "no delta",
                "delta",
            )
    aggregation = "seq_mean_token_mean" if by_sequence else AGGREGATIONS.get(kind, "token_mean")
    if by_sequence and kind != "grpo":
        given.settle(
            f"algorithm/aggregation: sequence_ratio goes with the mean of sequences; TRL has loss_type {kind}"
        )
    draft.choose("aggregation", aggregation, draft.origin("loss_type") + f" {kind}", "loss_type")
    if aggregation == "constant":
        draft.put("algorithm.aggregation.length", given.get("max_completion_length"), "max_completion_length")


def _kl(draft: Draft) -> None:
    given = draft.given
    if not given.get("beta"):
        draft.choose("kl", "none", draft.origin("beta") + " 0", "beta")
        return
    draft.choose("kl", "loss", "beta", "beta")
    draft.put("algorithm.kl.coef", given.get("beta"), "beta")
    corrected = given.get("use_bias_correction_kl")
    comment = draft.origin("use_bias_correction_kl") + (
        ": the gradient of the reverse KL" if corrected else ""
    )
    draft.put("algorithm.kl.estimator", "k2" if corrected else "k3", comment, "use_bias_correction_kl")
    draft.put("algorithm.kl.clamp_value", None, "TRL has none")


def _mismatch(draft: Draft) -> None:
    given, key = draft.given, "vllm_importance_sampling_correction"
    if not given.get("use_vllm") or not given.get(key):
        draft.choose("mismatch", "none", "" if given.get("use_vllm") else "no vLLM", key)
        return
    mode = str(given.get("vllm_importance_sampling_mode"))
    if mode not in MODES:
        given.lose("vllm_importance_sampling_mode", "sequence_mask stands in its place")
    option, level = MODES.get(mode, MODES["sequence_mask"])
    origin = draft.origin("vllm_importance_sampling_mode")
    draft.choose("mismatch", option, origin, key, "vllm_importance_sampling_mode")
    draft.put("algorithm.mismatch.level", level, origin)
    bounds = ("floor", "cap") if option == "truncate" else ("low", "high")
    for name, side in zip(bounds, ("min", "max"), strict=True):
        bound = f"vllm_importance_sampling_clip_{side}"
        draft.put(f"algorithm.mismatch.{name}", given.get(bound) or 0.0, draft.origin(bound), bound)
    if option == "mask":
        draft.put("algorithm.mismatch.weight", level, "what is kept weighs the ratio of that level")


def _entropy(draft: Draft) -> None:
    given = draft.given
    if given.get("use_adaptive_entropy"):
        draft.choose("entropy", "adaptive", "use_adaptive_entropy", "use_adaptive_entropy")
        for ours, theirs in (
            ("target", "entropy_target"),
            ("delta", "entropy_coef_delta"),
            ("min_coef", "entropy_coef_min"),
            ("max_coef", "entropy_coef_max"),
        ):
            draft.copy(f"algorithm.entropy.{ours}", theirs)
    elif given.get("entropy_coef"):
        draft.choose("entropy", "bonus", "entropy_coef", "entropy_coef")
        draft.copy("algorithm.entropy.coef", "entropy_coef")
    else:
        draft.choose("entropy", "none", "", "entropy_coef", "use_adaptive_entropy")


def _reference(draft: Draft, updates: int) -> None:
    given = draft.given
    if not given.get("sync_ref_model"):
        return
    if given.get("ref_model_mixup_alpha") < 1 or not given.get("beta"):
        why = (
            "a mixture of reference and policy"
            if given.get("beta")
            else "without beta nothing uses the reference"
        )
        given.lose("sync_ref_model", f"{why}: the reference stays fixed")
        return
    every = given.get("ref_model_sync_steps")
    names = ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps")
    draft.choose("reference", "reset", "sync_ref_model", *names)
    comment = f"{every} / {updates} (ref_model_sync_steps / updates_per_step)"
    draft.put("algorithm.reference.every", max(1, round(every / updates)), comment)
