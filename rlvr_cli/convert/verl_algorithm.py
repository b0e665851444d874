"""verl's algorithm keys -> one option for each axis, with all its values."""

from __future__ import annotations

from typing import Any

from rlvr_cli.convert import verl_correction, verl_kl
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.verl_data import Scorers

ACTOR = "actor_rollout_ref.actor."
OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg."
PRESETS = {
    "gae": "ppo",
    "rloo": "rloo",
    "reinforce_plus_plus": "reinforce_pp",
    "reinforce_plus_plus_baseline": "reinforce_pp_baseline",
}
AGGREGATIONS = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "seq_mean_token_mean",
    "seq-mean-token-sum": "seq_mean_token_sum",
    "seq-mean-token-sum-norm": "constant",
}


def convert(draft: Draft, scorers: Scorers) -> None:
    given = draft.given
    draft.preset = _preset(given)
    _shaping(draft, scorers)
    _filter(draft)
    _advantage(draft)
    _loss(draft)
    verl_kl.convert(draft)
    verl_correction.convert(draft)
    key = ACTOR + "entropy_coeff"
    draft.choose("entropy", "bonus" if given.get(key) else "none", draft.origin(key), key)
    if given.get(key):
        draft.put("algorithm.entropy.coef", given.get(key), draft.origin(key), key)


def _preset(given: Given) -> str:
    """The one that differs least."""
    estimator = given.get("algorithm.adv_estimator")
    if estimator in PRESETS:
        return PRESETS[estimator]
    if given.get("algorithm.filter_groups.enable"):
        return "dapo"
    mode = given.get(ACTOR + "policy_loss.loss_mode")
    if mode in ("gspo", "cispo"):
        return str(mode)
    return "grpo" if given.get("algorithm.norm_adv_by_std_in_grpo") else "dr_grpo"


def _shaping(draft: Draft, scorers: Scorers) -> None:
    given, manager = draft.given, "reward.reward_manager.name"
    overlong = given.get(manager) == "dapo" and given.get(OVERLONG + "enable")
    if given.get(manager) not in ("naive", "dapo", "batch", "prime"):
        given.lose(manager, "a function that scores a response becomes a verifier; managers are not there")
    draft.choose(
        "shaping",
        "soft_overlong" if overlong else "identity",
        "the overlong buffer" if overlong else "",
        manager,
    )
    wrong = scorers.wrong or {0.0}
    draft.put("algorithm.shaping.correct", 1.0)
    draft.put(
        "algorithm.shaping.wrong",
        min(wrong),
        "what verl's scorer gives a wrong answer" if min(wrong) < 0 else "",
    )
    if len(wrong) > 1:
        given.settle(
            "algorithm.shaping.wrong: verl gives a wrong answer -1 in some of these files and 0 in others"
        )
    if overlong:
        limit = given.get("reward.reward_kwargs.max_resp_len") or given.get("data.max_response_length")
        draft.put(
            "algorithm.shaping.max_length",
            limit,
            "max_resp_len",
            "reward.reward_kwargs.max_resp_len",
            OVERLONG + "enable",
        )
        draft.put(
            "algorithm.shaping.buffer", given.get(OVERLONG + "len"), "overlong_buffer len", OVERLONG + "len"
        )
        draft.copy("algorithm.shaping.factor", OVERLONG + "penalty_factor")
        draft.put("algorithm.shaping.floor", None, "verl has none")


def _filter(draft: Draft) -> None:
    given, groups = draft.given, "algorithm.filter_groups."
    if not given.get(groups + "enable"):
        draft.choose("filter", "none")
        if given.has("data.gen_batch_size"):
            given.lose("data.gen_batch_size", "only with filter_groups is more generated than trained on")
        return
    draft.choose("filter", "zero_signal", "filter_groups", groups + "enable")
    metric = given.get(groups + "metric")
    ours = "correct" if metric == "acc" else "reward"
    draft.put("algorithm.filter.metric", ours, f"{metric}", groups + "metric")
    prompts, generated = given.get("data.train_batch_size"), given.get("data.gen_batch_size")
    if given.has("data.gen_batch_size") and generated:
        comment = f"{generated} / {prompts} (gen_batch_size / train_batch_size)"
        draft.put("rollout.oversample", generated / prompts, comment, "data.gen_batch_size")
    rounds = given.get(groups + "max_num_gen_batches")
    comment = "max_num_gen_batches; then a step trains on what there is, where verl raises"
    draft.put("rollout.max_rounds", rounds if rounds > 0 else 1000, comment, groups + "max_num_gen_batches")


def _advantage(draft: Draft) -> None:
    given, key = draft.given, "algorithm.adv_estimator"
    estimator = given.get(key)
    origin = draft.origin(key) + f" {estimator}"
    if estimator == "gae":
        draft.choose("advantage", "gae", origin, key)
        _critic(draft)
    elif estimator == "rloo":
        draft.choose("advantage", "leave_one_out", origin, key)
    elif estimator in ("reinforce_plus_plus", "reinforce_plus_plus_baseline"):
        draft.choose("advantage", "batch_whitened", origin, key)
        draft.put(
            "algorithm.advantage.baseline", "group" if estimator.endswith("baseline") else "none", estimator
        )
        draft.put("algorithm.advantage.ddof", 1, "verl")
    else:
        if estimator != "grpo":
            given.lose(key, "there is no such advantage; that of grpo stands in its place")
            given.settle(f"algorithm/advantage: {estimator} is not there; group_zscore is a guess")
        by_std = given.get("algorithm.norm_adv_by_std_in_grpo")
        given.take("algorithm.norm_adv_by_std_in_grpo")
        draft.choose("advantage", "group_zscore" if by_std else "group_centered", origin, key)
        if by_std:
            draft.put("algorithm.advantage.ddof", 1, "verl")
            draft.put("algorithm.advantage.eps", 1e-6, "verl")


def _critic(draft: Draft) -> None:
    given = draft.given
    draft.copy("algorithm.advantage.gamma", "algorithm.gamma")
    draft.copy("algorithm.advantage.lam", "algorithm.lam")
    draft.copy("critic.lr", "critic.optim.lr")
    for ours, theirs in (
        ("algorithm.advantage.value_clip", "critic.cliprange_value"),
        ("critic.warmup_steps", "critic.optim.lr_warmup_steps"),
        ("critic.weight_decay", "critic.optim.weight_decay"),
        ("critic.max_grad_norm", "critic.grad_clip"),
        ("critic.path", "critic.model.path"),
        ("critic.pretrain_steps", "trainer.critic_warmup"),
    ):
        if given.has(theirs) and given.get(theirs) not in (None, -1):
            draft.copy(ours, theirs)


def _loss(draft: Draft) -> None:
    given, key = draft.given, ACTOR + "policy_loss.loss_mode"
    mode = given.get(key)
    losses = {"vanilla": "clipped", "gspo": "sequence_ratio", "cispo": "clipped_weight", "gpg": "reinforce"}
    loss = losses.get(mode, "clipped")
    if mode not in losses:
        given.lose(key, "there is no such loss; clipped stands in its place")
        given.settle(f"algorithm/loss: {mode} is not there; clipped is a guess")
    draft.choose("loss", loss, draft.origin(key) + f" {mode}", key)
    if loss != "reinforce":
        for side in ("low", "high"):
            own = ACTOR + f"clip_ratio_{side}"
            name = own if given.has(own) and given.get(own) is not None else ACTOR + "clip_ratio"
            bound: Any = given.get(name)
            comment = draft.origin(name)
            if loss == "clipped_weight" and side == "low" and bound >= 1:
                bound, comment = None, f"1 - {bound} is below 0: no bound"
            draft.put(f"algorithm.loss.clip_ratio_{side}", bound, comment, name)
    if loss == "clipped":
        draft.put(
            "algorithm.loss.dual_clip",
            given.get(ACTOR + "clip_ratio_c"),
            draft.origin(ACTOR + "clip_ratio_c"),
            ACTOR + "clip_ratio_c",
        )
    mode_key = ACTOR + "loss_agg_mode"
    how = "seq-mean-token-mean" if loss == "sequence_ratio" else given.get(mode_key)
    if how not in AGGREGATIONS:
        given.lose(mode_key, "there is no such aggregation; token_mean stands in its place")
        given.settle(f"algorithm/aggregation: {how} is not there; token_mean is a guess")
    comment = "of gspo, whatever loss_agg_mode says" if loss == "sequence_ratio" else draft.origin(mode_key)
    draft.choose("aggregation", AGGREGATIONS.get(how, "token_mean"), comment, mode_key)
    if how == "seq-mean-token-sum-norm":
        factor = given.get(ACTOR + "loss_scale_factor") or given.get("data.max_response_length")
        draft.put(
            "algorithm.aggregation.length",
            factor,
            "loss_scale_factor, or max_response_length",
            ACTOR + "loss_scale_factor",
        )
