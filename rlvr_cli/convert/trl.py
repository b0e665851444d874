"""A GRPO run of TRL -> a draft: sizes, model, trainer."""

from __future__ import annotations

from pathlib import Path

from rlvr_cli.convert import trl_algorithm, trl_data, trl_parts
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.problem_files import look
from rlvr_cli.convert.trl_parts import Beside
from rlvr_cli.convert.verl import place_loggers
from rlvr_cli.core.errors import UserError

OUR_PROMPT = 1024
"""`rollout.max_prompt_tokens` where nothing is said."""


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
    trl_parts.model(draft, beside.peft)
    _engine(draft)
    _steps(draft, rows, updates)
    trl_parts.learning_rate(draft, updates)
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


def _clock(draft: Draft, updates: int) -> None:
    """When checkpoints are written and benches measured: TRL counts updates."""
    trl_parts.saves(draft, updates)
    given = draft.given
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
