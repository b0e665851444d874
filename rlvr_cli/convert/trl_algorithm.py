"""TRL's algorithm keys -> one option for each axis, with all its values."""

from __future__ import annotations

from rlvr_cli.convert.draft import Draft

AGGREGATIONS = {
    **{"dapo": "token_mean", "cispo": "token_mean"},
    **{"grpo": "seq_mean_token_mean", "dr_grpo": "constant", "luspo": "seq_mean_token_sum"},
    **{"sapo": "seq_mean_token_mean", "vespo": "token_mean"},
}
OWN = {
    "sapo": (
        "soft_gate",
        {"tau_positive": "sapo_temperature_pos", "tau_negative": "sapo_temperature_neg"},
    ),
    "vespo": (
        "sequence_bell",
        {
            **{"k_positive": "vespo_k_pos", "lambda_positive": "vespo_lambda_pos"},
            **{"k_negative": "vespo_k_neg", "lambda_negative": "vespo_lambda_neg"},
        },
    ),
}
"""loss_type -> our loss, and our keys of it -> theirs."""
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
    several = "multi_objective_aggregation"
    if given.get(several) == "normalize_then_sum":
        draft.choose("advantage", "separate_rewards", several, several)
        draft.put("algorithm.advantage.ddof", 1, "TRL")
        draft.put("algorithm.advantage.eps", 1e-4, "TRL")
        given.lose(key, f"{several} divides each reward by its group's deviation")
        return
    given.take(several)
    if scale == "none":
        draft.choose("advantage", "group_centered", draft.origin(key), key)
        return
    draft.choose("advantage", "group_zscore", draft.origin(key), key)
    draft.put("algorithm.advantage.ddof", 1, "TRL")
    draft.put("algorithm.advantage.eps", 1e-4, "TRL")
    draft.put("algorithm.advantage.scale_by", "batch" if scale == "batch" else "group", draft.origin(key))


def _loss(draft: Draft) -> None:
    given = draft.given
    kind, by_sequence = given.get("loss_type"), given.get("importance_sampling_level") == "sequence"
    if kind not in AGGREGATIONS:
        given.lose("loss_type", "token_mean stands in its place")
        given.settle(f"algorithm/loss: {kind} is not there; clipped with token_mean is a guess")
    given.take("importance_sampling_level")
    if kind in OWN:
        option, names = OWN[kind]
        draft.choose("loss", option, f"loss_type {kind}", "loss_type")
        for ours, theirs in names.items():
            draft.copy(f"algorithm.loss.{ours}", theirs)
    elif kind == "cispo":
        _cispo(draft)
    else:
        _clipped(draft, by_sequence)
    if draft.options["loss"][0] != "off_policy_mask":
        given.lose("off_policy_mask_threshold", "such a mask goes with the loss clipped alone")
    _aggregation(draft, kind, by_sequence and kind not in ("sapo", "vespo", "luspo"))


def _cispo(draft: Draft) -> None:
    given = draft.given
    name = "epsilon" if given.get("epsilon_high") is None else "epsilon_high"
    cap = given.get(name)
    draft.choose("loss", "clipped_weight", "loss_type cispo", "loss_type")
    draft.put("algorithm.loss.clip_ratio_low", None, "TRL's cispo has none")
    draft.put("algorithm.loss.clip_ratio_high", cap - 1, f"{cap} - 1: {name} is the cap itself", name)


def _clipped(draft: Draft, by_sequence: bool) -> None:
    given, delta = draft.given, draft.given.get("delta")
    name = "epsilon" if given.get("epsilon_high") is None else "epsilon_high"
    low, high, threshold = given.get("epsilon"), given.get(name), given.get("off_policy_mask_threshold")
    masked = threshold is not None and not by_sequence
    option = "sequence_ratio" if by_sequence else "off_policy_mask" if masked else "clipped"
    draft.choose("loss", option, draft.origin("importance_sampling_level"))
    draft.put("algorithm.loss.clip_ratio_low", low, draft.origin("epsilon"), "epsilon")
    draft.put("algorithm.loss.clip_ratio_high", high, draft.origin(name), name)
    if masked:
        key = "off_policy_mask_threshold"
        draft.put("algorithm.loss.delta", threshold, key, key)
        draft.put("algorithm.loss.anchor", "rollout", "against the sampler's logprobs")
    if by_sequence:
        return
    if delta is not None and delta < 1 + high:
        given.lose("delta", f"below 1 + {high:g} it clips positive advantages too; there is no such clip")
        delta = None
    told = "no delta" if delta is None else "delta"
    draft.put("algorithm.loss.dual_clip", delta, told, *([] if delta is None else ["delta"]))


def _aggregation(draft: Draft, kind: str, by_sequence: bool) -> None:
    aggregation = "seq_mean_token_mean" if by_sequence else AGGREGATIONS.get(kind, "token_mean")
    if by_sequence and kind != "grpo":
        draft.given.settle(
            f"algorithm/aggregation: sequence_ratio goes with the mean of sequences; TRL has loss_type {kind}"
        )
    draft.choose("aggregation", aggregation, draft.origin("loss_type") + f" {kind}", "loss_type")
    if aggregation == "constant":
        limit = draft.given.get("max_completion_length")
        draft.put("algorithm.aggregation.length", limit, "max_completion_length")


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
