"""What runs of all TRL's trainers share: model, adapters, learning rate, checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.python_script import Reward

KINDS = {
    **{kind: kind for kind in ("grpo", "dpo", "kto", "orpo", "cpo", "reward")},
    "reward_modeling": "reward",
}
"""Verbs of `trl`, and stems of its scripts -> whose trainer it is."""
TELLTALES = {
    "grpo": ("num_generations", "reward_funcs", "max_completion_length", "use_vllm"),
    "kto": ("desirable_weight", "undesirable_weight"),
    "cpo": ("cpo_alpha", "simpo_gamma"),
    "reward": ("center_rewards_coefficient",),
    "dpo": (
        "rpo_alpha",
        "label_smoothing",
        "reference_free",
        "precompute_ref_log_probs",
        "f_divergence_type",
        "ld_alpha",
    ),
}
"""Keys that only one trainer has."""


def telltale(values: dict[str, Any]) -> str | None:
    """Whose configuration a file is by itself; None where that cannot be told."""
    return next((kind for kind, keys in TELLTALES.items() if any(key in values for key in keys)), None)


@dataclass
class Beside:
    """What is known besides the keys."""

    processes: int | None = None
    rewards: list[Reward] = field(default_factory=list)
    """Of a Python script; else `reward_funcs` has their names."""
    peft: bool = False
    runs_on_import: bool = False
    kind: str = "grpo"
    """Whose trainer: grpo, dpo, kto, orpo, cpo or reward."""
    notes: list[str] = field(default_factory=list)


def model(draft: Draft, peft: bool) -> None:
    given = draft.given
    arguments = given.get("model_init_kwargs") if given.has("model_init_kwargs") else None
    if isinstance(arguments, dict):
        given.take("model_init_kwargs")
        ours = {"attn_implementation": "model.attention", "revision": "model.revision"}
        for key, value in arguments.items():
            if key in ours and value is not None:
                draft.put(ours[key], value, f"model_init_kwargs.{key}")
            elif key not in (*ours, "dtype", "torch_dtype", "use_cache"):
                given.settle(f"model: model_init_kwargs has {key}={value}, which is not carried over")
    if given.has("bf16") and given.get("bf16") is False and not given.get("fp16"):
        draft.put("trainer.precision", "fp32", "bf16 is false", "bf16", "fp16")
    given.take("bf16")
    if given.get("use_peft") or peft:
        _lora(draft, peft)


def _lora(draft: Draft, peft: bool) -> None:
    """`LoraConfig` has other defaults than TRL's command line."""
    given = draft.given

    def value(key: str, of_peft: Any) -> tuple[Any, str]:
        if peft and not given.has(key):
            return of_peft, "peft's default"
        return given.get(key), draft.origin(key)

    given.take("use_peft")
    rank, origin = value("lora_r", 8)
    draft.put("model.lora.rank", rank, origin, "lora_r")
    alpha, origin = value("lora_alpha", 8)
    draft.put("model.lora.alpha", float(alpha), origin, "lora_alpha")
    for key, ours in (("use_rslora", "rank_stabilised"), ("use_dora", "dora")):
        if given.get(key):
            draft.put(f"model.lora.{ours}", True, draft.origin(key), key)
    _start(draft)
    dropout, origin = value("lora_dropout", 0.0)
    draft.put("model.lora.dropout", float(dropout), origin, "lora_dropout")
    targets, origin = value("lora_target_modules", None)
    if targets is None:
        targets, origin = "q_proj,v_proj", "what peft takes of Qwen and Llama"
    text = ",".join(targets) if isinstance(targets, list) else targets
    draft.put("model.lora.targets", text, origin, "lora_target_modules")


def _start(draft: Draft) -> None:
    """`init_lora_weights`: the ways that only choose A leave the start model as it is."""
    given, key = draft.given, "init_lora_weights"
    if not given.has(key):
        return
    way = given.get(key)
    if isinstance(way, str) and (way == "pissa" or way.startswith("pissa_niter_")):
        told = key if way == "pissa" else f"{way}: here exactly, whatever the iterations"
        draft.put("model.lora.init", "pissa", told, key)
        return
    draft.put("model.lora.init", "default", key, key)
    if way is not True:
        given.settle(f"{key}={way}: model.lora.init has default and pissa")


def _counted(name: str, value: float, updates: int | None) -> str:
    return name if updates is None else f"{value} / {updates} ({name} / updates_per_step)"


def learning_rate(draft: Draft, updates: int | None) -> None:
    """`updates`: of a step, which TRL counts as so many; None: a step is one."""
    given = draft.given
    draft.schedule("lr_scheduler_type", "linear")
    arguments = given.get("lr_scheduler_kwargs") if given.has("lr_scheduler_kwargs") else None
    if isinstance(arguments, dict):
        lr = draft.get("trainer.lr") if given.get("learning_rate") is None else given.get("learning_rate")
        if "min_lr" in arguments:
            draft.put(
                "trainer.min_lr", arguments["min_lr"], "lr_scheduler_kwargs.min_lr", "lr_scheduler_kwargs"
            )
        elif "min_lr_rate" in arguments:
            rate = arguments["min_lr_rate"]
            draft.put(
                "trainer.min_lr",
                rate * lr,
                f"{rate} * {lr} (min_lr_rate * learning_rate)",
                "lr_scheduler_kwargs",
            )
        else:
            given.lose("lr_scheduler_kwargs", "only min_lr and min_lr_rate are")
    warmup, ratio = given.get("warmup_steps"), given.get("warmup_ratio")
    share = ratio if not warmup else warmup if warmup < 1 else 0
    if share:
        names = ("warmup_ratio", "warmup_steps")
        draft.share_of_steps("trainer.warmup_steps", share, "warmup_ratio * steps", *names)
    elif warmup:
        comment = _counted("warmup_steps", warmup, updates)
        draft.put("trainer.warmup_steps", math.ceil(warmup / (updates or 1)), comment, "warmup_steps")
    first, second = given.get("adam_beta1"), given.get("adam_beta2")
    draft.put("trainer.betas", [first, second], "adam_beta1, adam_beta2", "adam_beta1", "adam_beta2")


def saves(draft: Draft, updates: int | None) -> None:
    """When checkpoints are written: TRL counts updates."""
    given = draft.given
    strategy, every = given.get("save_strategy"), given.get("save_steps")
    given.take("save_strategy")
    if strategy == "steps" and every < 1:
        draft.share_of_steps("checkpoint.every", every, "save_steps * steps", "save_steps", least=1)
    elif strategy == "steps":
        comment = _counted("save_steps", every, updates)
        draft.put("checkpoint.every", max(1, round(every / (updates or 1))), comment, "save_steps")
    elif strategy == "epoch":
        given.settle("checkpoint.every: TRL saves after each epoch; null is when the run ends")
