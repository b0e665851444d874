"""OpenRLHF's algorithm keys -> one option for each axis, with all its values."""

from __future__ import annotations

from rlvr_cli.convert.draft import Draft

PRESETS = {
    "gae": ("ppo", "gae"),
    "reinforce": ("reinforce_pp", "batch_whitened"),
    "reinforce_baseline": ("reinforce_pp_baseline", "batch_whitened"),
    "rloo": ("rloo", "leave_one_out"),
    "group_norm": ("grpo", "group_zscore"),
    "dr_grpo": ("dr_grpo", "group_centered"),
}
"""Estimator -> preset, option of the advantage."""


def convert(draft: Draft) -> None:
    _advantage(draft)
    _shaping(draft)
    _filter(draft)
    _loss(draft)
    _kl(draft)
    _mismatch(draft)
    key = "actor.entropy_coef"
    bonus = draft.given.get(key) if draft.given.has(key) else None
    draft.choose("entropy", "bonus" if bonus else "none", "", key)
    if bonus:
        draft.put("algorithm.entropy.coef", bonus, "entropy_coef")


def _advantage(draft: Draft) -> None:
    given, key = draft.given, "algo.advantage.estimator"
    estimator = given.get(key)
    if estimator not in PRESETS:
        given.lose(key, "that of group_norm stands in its place")
        given.settle(f"algorithm/advantage: {estimator} is not there; group_zscore is a guess")
    draft.preset, option = PRESETS.get(estimator, PRESETS["group_norm"])
    draft.choose("advantage", option, f"{draft.origin(key)} {estimator}", key)
    if option == "batch_whitened":
        draft.put(
            "algorithm.advantage.baseline",
            "group" if estimator == "reinforce_baseline" else "none",
            estimator,
        )
        draft.put("algorithm.advantage.ddof", 0, "OpenRLHF")
    elif option == "group_zscore":
        draft.put("algorithm.advantage.ddof", 1, "OpenRLHF")
        draft.put("algorithm.advantage.eps", 1e-9, "OpenRLHF")
    elif option == "gae":
        draft.copy("algorithm.advantage.gamma", "algo.advantage.gamma")
        draft.copy("algorithm.advantage.lam", "algo.advantage.lambd")
        draft.copy("algorithm.advantage.value_clip", "critic.value_clip")
        draft.copy("critic.lr", "critic.adam.lr")
        draft.copy("critic.max_grad_norm", "critic.max_norm")
        if given.has("critic.model_name_or_path"):
            draft.copy("critic.path", "critic.model_name_or_path")
        if given.get("critic.freezing_steps") > 0:
            draft.copy("critic.pretrain_steps", "critic.freezing_steps")


def _shaping(draft: Draft) -> None:
    given = draft.given
    buffer, stop = "reward.overlong_buffer_len", "reward.stop_properly_penalty_coef"
    draft.put("algorithm.shaping.correct", 1.0)
    draft.put("algorithm.shaping.wrong", 0.0)
    if given.has(buffer) and given.get(buffer):
        draft.choose("shaping", "soft_overlong", "overlong_buffer_len", buffer)
        draft.put("algorithm.shaping.max_length", draft.get("rollout.max_tokens"), "max_new_tokens")
        draft.put("algorithm.shaping.buffer", int(given.get(buffer)), "overlong_buffer_len")
        draft.copy("algorithm.shaping.factor", "reward.overlong_penalty_factor")
        if given.has(stop):
            given.lose(stop, "one shaping at a time: soft_overlong")
    elif given.has(stop) and given.get(stop) is not None:
        draft.choose("shaping", "stop_properly", "stop_properly_penalty_coef", stop)
        draft.copy("algorithm.shaping.coef", stop)
    else:
        draft.choose("shaping", "identity")


def _filter(draft: Draft) -> None:
    given, key = draft.given, "algo.dynamic_filtering_enable"
    if not given.get(key):
        draft.choose("filter", "none", "", key)
        return
    low, high = given.get("algo.dynamic_filtering_range")
    draft.choose("filter", "difficulty_band", "dynamic_filtering", key, "algo.dynamic_filtering_range")
    draft.put("algorithm.filter.low", float(low), "dynamic_filtering_range")
    draft.put("algorithm.filter.high", float(high), "dynamic_filtering_range")


def _loss(draft: Draft) -> None:
    given, key = draft.given, "actor.policy_loss_type"
    by_sequence = given.get(key) == "gspo"
    draft.choose("loss", "sequence_ratio" if by_sequence else "clipped", draft.origin(key), key)
    pair = "actor.eps_clip_low_high"
    if given.has(pair) and given.get(pair):
        (low, high), name = given.get(pair), pair
    else:
        low, high, name = given.get("actor.eps_clip"), given.get("actor.eps_clip"), "actor.eps_clip"
    draft.put("algorithm.loss.clip_ratio_low", low, draft.origin(name), name)
    draft.put("algorithm.loss.clip_ratio_high", high, draft.origin(name))
    if not by_sequence:
        draft.put(
            "algorithm.loss.dual_clip",
            given.get("actor.dual_clip"),
            draft.origin("actor.dual_clip"),
            "actor.dual_clip",
        )
    how = "seq_mean_token_mean" if by_sequence else "token_mean"
    draft.choose("aggregation", how, "always so in OpenRLHF")


def _kl(draft: Draft) -> None:
    given, key = draft.given, "algo.kl.init_coef"
    if not given.get(key):
        draft.choose("kl", "none", "init_coef is 0", key, "algo.kl.use_loss")
        return
    in_loss = given.get("algo.kl.use_loss")
    draft.choose("kl", "loss" if in_loss else "reward", draft.origin("algo.kl.use_loss"), "algo.kl.use_loss")
    draft.copy("algorithm.kl.coef", key)
    draft.copy("algorithm.kl.estimator", "algo.kl.estimator")
    draft.put("algorithm.kl.clamp_value", None, "OpenRLHF has none")
    draft.put("algorithm.kl.clamp_log_ratio", 10.0, "OpenRLHF")
    if given.get("algo.kl.target"):
        draft.adaptive_kl("algo.kl.target", "algo.kl.horizon", "algo.kl.target")


def _mismatch(draft: Draft) -> None:
    given = draft.given
    enable, kind = "algo.advantage.is_correction_enable", "algo.advantage.is_correction_type"
    if not given.get(enable):
        draft.choose("mismatch", "none", "", enable)
        return
    how = "icepop" if given.get("use_icepop") else given.get(kind)
    bounds = given.get("algo.advantage.is_correction_threshold")
    low, high = bounds if isinstance(bounds, list) else (0.0, bounds)
    names = (enable, kind, "algo.advantage.is_correction_threshold", "use_icepop")
    if how == "tis":
        draft.choose("mismatch", "truncate", "is_correction tis", *names)
        draft.put("algorithm.mismatch.level", "token", "tis")
        draft.put("algorithm.mismatch.floor", float(low), "is_correction_threshold")
        draft.put("algorithm.mismatch.cap", float(high), "is_correction_threshold")
        return
    draft.choose("mismatch", "mask", f"is_correction {how}", *names)
    draft.put("algorithm.mismatch.level", "token" if how == "icepop" else "geometric", str(how))
    draft.put("algorithm.mismatch.low", float(low), "is_correction_threshold")
    draft.put("algorithm.mismatch.high", float(high), "is_correction_threshold")
    draft.put("algorithm.mismatch.weight", "token", "what is kept weighs its own ratio")
