"""verl's algorithm keys -> one option for each axis, with all its values."""

from __future__ import annotations

from rlvr_cli.convert import verl_correction, verl_kl, verl_loss
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.verl_data import Scorers

ACTOR = "actor_rollout_ref.actor."
OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg."
PRESETS = {
    "gae": "ppo",
    "gdpo": "gdpo",
    "rloo": "rloo",
    "reinforce_plus_plus": "reinforce_pp",
    "reinforce_plus_plus_baseline": "reinforce_pp_baseline",
}


def convert(draft: Draft, scorers: Scorers) -> None:
    given = draft.given
    draft.preset = _preset(given)
    _shaping(draft, scorers)
    _filter(draft)
    _advantage(draft)
    verl_loss.convert(draft)
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
    if mode in verl_loss.PRESETS:
        return verl_loss.PRESETS[mode]
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
    elif estimator == "grpo_passk":
        draft.choose("advantage", "best_margin", origin, key)
        draft.copy("algorithm.advantage.normalise", "algorithm.norm_adv_by_std_in_grpo")
        draft.put("algorithm.advantage.eps", 1e-6, "verl")
    elif estimator == "gdpo":
        draft.choose("advantage", "separate_rewards", origin, key)
        given.settle("algorithm.advantage.whiten: verl whitens over tokens, here it is over samples")
        draft.put("algorithm.advantage.ddof", 1, "verl")
        draft.put("algorithm.advantage.eps", 1e-6, "verl")
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
