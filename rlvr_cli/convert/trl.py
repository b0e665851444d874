"""A GRPO run of TRL -> a draft: sizes, model, trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.convert import trl_algorithm, trl_data
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.problem_files import look
from rlvr_cli.convert.python_script import Reward
from rlvr_cli.convert.verl import place_loggers
from rlvr_cli.core.errors import UserError

OUR_PROMPT = 1024
"""`rollout.max_prompt_tokens` where nothing is said."""


@dataclass
class Beside:
    """What is known besides the keys."""

    processes: int | None = None
    rewards: list[Reward] = field(default_factory=list)
    """Of a Python script; else `reward_funcs` has their names."""
    peft: bool = False
    runs_on_import: bool = False
    notes: list[str] = field(default_factory=list)


def convert(given: Given, rows: int | None, beside: Beside) -> Draft:
    draft = Draft(given)
    out = given.get("output_dir") if given.has("output_dir") else None
    name = given.get("run_name") if given.has("run_name") else Path(str(out)).name if out else "trl"
    draft.put("name", draft.name(str(name)), "", "run_name", "output_dir")
    draft.same_rows()
    for note in beside.notes:
        given.settle(note)
    updates = _sizes(draft, beside)
    trl_data.convert(draft, beside.rewards, beside.runs_on_import)
    trl_algorithm.convert(draft, updates)
    _model(draft, beside.peft)
    _engine(draft)
    _steps(draft, rows, updates)
    _learning_rate(draft, updates)
    _clock(draft, updates)
    if given.has("report_to"):
        loggers = given.get("report_to")
        place_loggers(draft, "report_to", loggers if isinstance(loggers, list) else [loggers])
    return draft


def _sizes(draft: Draft, beside: Beside) -> int:
    given, processes = draft.given, beside.processes or 1
    if beside.processes is None:
        given.settle(
            "processes: taken as 1, and batch.prompts_per_step is what one has; convert again with "
            "--processes N"
        )
    each, group, accumulated = (
        given.get(name)
        for name in ("per_device_train_batch_size", "num_generations", "gradient_accumulation_steps")
    )
    total = given.get("generation_batch_size") if given.has("generation_batch_size") else None
    steps = given.get("steps_per_generation") if given.has("steps_per_generation") else None
    steps = steps or (total / (each * processes) if total else accumulated)
    total = total or each * processes * steps
    if total % group:
        raise UserError(
            f"{given.source}: {total:g} completions a step are no whole groups of num_generations={group}; "
            "TRL refuses that too, so is --processes right?"
        )
    formula = f"{each} * {processes} * {steps:g} / {group} (per_device_train_batch_size * processes * "
    formula += "steps_per_generation / num_generations)"
    names = ("per_device_train_batch_size", "generation_batch_size", "steps_per_generation")
    prompts = round(total / group)
    draft.put("batch.prompts_per_step", prompts, formula, *names, "gradient_accumulation_steps")
    formula = f"{steps:g} / {accumulated} (steps_per_generation / gradient_accumulation_steps)"
    updates = draft.updates(prompts, steps / accumulated, formula, "gradient_accumulation_steps")
    longest = (draft.get("rollout.max_prompt_tokens") or OUR_PROMPT) + given.get("max_completion_length")
    comment = f"{each} * {longest} (per_device_train_batch_size * longest sequence)"
    draft.put("batch.tokens_per_microbatch", each * longest, comment)
    draft.put("trainer.ranks", processes, "processes")
    return updates


def _model(draft: Draft, peft: bool) -> None:
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
    if given.get("use_rslora"):
        alpha, origin = alpha * math.sqrt(rank), f"{alpha} * sqrt({rank}) (use_rslora)"
    draft.put("model.lora.alpha", float(alpha), origin, "lora_alpha", "use_rslora")
    dropout, origin = value("lora_dropout", 0.0)
    draft.put("model.lora.dropout", float(dropout), origin, "lora_dropout")
    targets, origin = value("lora_target_modules", None)
    if targets is None:
        targets, origin = "q_proj,v_proj", "what peft takes of Qwen and Llama"
    text = ",".join(targets) if isinstance(targets, list) else targets
    draft.put("model.lora.targets", text, origin, "lora_target_modules")


def _engine(draft: Draft) -> None:
    given = draft.given
    if not given.get("use_vllm"):
        draft.put("rollout.engine", "hf", "no use_vllm; vllm samples faster", "use_vllm")
        return
    draft.put("rollout.engine", "vllm", "use_vllm", "use_vllm")
    if given.has("vllm_mode") and given.get("vllm_mode") == "server":
        given.lose("vllm_mode", "each rank has an engine on its GPU")
        given.lose("vllm_gpu_memory_utilization", "the server has GPUs of its own there")
        return
    draft.copy("rollout.gpu_memory_utilization", "vllm_gpu_memory_utilization")
    draft.copy("rollout.sleep", "vllm_enable_sleep_mode")


def _steps(draft: Draft, rows: int | None, updates: int) -> None:
    given, prompts = draft.given, draft.get("batch.prompts_per_step")
    most, epochs = given.get("max_steps"), given.get("num_train_epochs")
    if most > 0:
        comment = f"{most} / {updates} (max_steps / updates_per_step)"
        draft.put("trainer.steps", max(1, round(most / updates)), comment, "max_steps")
        return
    note = "--rows" if rows is not None else ""
    path = given.get("dataset_name") if given.has("dataset_name") else None
    if rows is None and isinstance(path, str):
        seen = look(path, "")
        rows, note = seen.rows, seen.note
    shown = "rows" if rows is None else rows
    formula = f"floor({shown} / {prompts}) * {epochs:g} (rows / prompts_per_step * num_train_epochs)"
    count = None if rows is None else int(rows // prompts * epochs)
    draft.steps(count, formula + (f"; {note}" if note else ""), "num_train_epochs", "max_steps")


def _learning_rate(draft: Draft, updates: int) -> None:
    given = draft.given
    draft.schedule("lr_scheduler_type", "linear")
    arguments = given.get("lr_scheduler_kwargs") if given.has("lr_scheduler_kwargs") else None
    if isinstance(arguments, dict):
        lr = given.get("learning_rate")
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
        comment = f"{warmup} / {updates} (warmup_steps / updates_per_step)"
        draft.put("trainer.warmup_steps", math.ceil(warmup / updates), comment, "warmup_steps")
    first, second = given.get("adam_beta1"), given.get("adam_beta2")
    draft.put("trainer.betas", [first, second], "adam_beta1, adam_beta2", "adam_beta1", "adam_beta2")


def _clock(draft: Draft, updates: int) -> None:
    """When checkpoints are written and benches measured: TRL counts updates."""
    given = draft.given
    strategy, every = given.get("save_strategy"), given.get("save_steps")
    given.take("save_strategy")
    if strategy == "steps" and every < 1:
        draft.share_of_steps("checkpoint.every", every, "save_steps * steps", "save_steps", least=1)
    elif strategy == "steps":
        comment = f"{every} / {updates} (save_steps / updates_per_step)"
        draft.put("checkpoint.every", max(1, round(every / updates)), comment, "save_steps")
    elif strategy == "epoch":
        given.settle("checkpoint.every: TRL saves after each epoch; null is when the run ends")
    if draft.get("eval.benches.test.k") is None:
        return
    every = given.get("eval_steps")
    if given.get("eval_strategy") == "steps" and every < 1:
        draft.share_of_steps(
            "eval.every", every, "eval_steps * steps", "eval_steps", "eval_strategy", least=1
        )
    elif given.get("eval_strategy") == "steps":
        comment = f"{every} / {updates} (eval_steps / updates_per_step)"
        draft.put("eval.every", max(1, round(every / updates)), comment, "eval_steps", "eval_strategy")
    else:
        given.settle("eval.every: TRL measures after each epoch; null is when the run begins and ends")
    draft.copy("eval.at_start", "eval_on_start")
