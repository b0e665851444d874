"""A launch command of OpenRLHF -> a draft: sizes, model, data, trainer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr_cli.convert import openrlhf_algorithm
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.problem_files import look
from rlvr_cli.convert.verl import place_ranks
from rlvr_cli.convert.verl_data import place_verifier, source_names

LAUNCH = re.compile(r"(?:^|[./])train_(?:ppo_ray|dpo|rm)(?:\.py)?$")
ALL = 10**8
"""`max_samples` that means all."""


def convert(given: Given, rows: int | None) -> Draft:
    draft = Draft(given)
    named(draft, "openrlhf")
    draft.same_rows()
    _lengths(draft)
    _sizes(draft)
    verifier = _reward(draft)
    known = _data(draft)
    openrlhf_algorithm.convert(draft)
    model(draft)
    _engine(draft)
    trainer(draft)
    _steps(draft, rows if rows is not None else known[0], "--rows" if rows is not None else known[1])
    _learning_rate(draft)
    _bench(draft, verifier)
    place_ranks(draft, "actor.num_nodes", "actor.num_gpus_per_node")
    wandb(draft)
    if given.has("logger.tensorboard_dir") and given.get("logger.tensorboard_dir"):
        draft.put("tracker.tensorboard", True, "logger.tensorboard_dir", "logger.tensorboard_dir")
    return draft


def named(draft: Draft, otherwise: str) -> None:
    given = draft.given
    out = given.get("ckpt.output_dir") if given.has("ckpt.output_dir") else None
    run = given.get("logger.wandb.run_name") if given.has("logger.wandb.run_name") else None
    name = run or (Path(str(out)).name if out else otherwise)
    draft.put("name", draft.name(str(name)), "", "logger.wandb.run_name")


def wandb(draft: Draft) -> None:
    given = draft.given
    wanted = given.has("logger.wandb.key") and given.get("logger.wandb.key") not in (None, False)
    wanted = wanted or "logger.wandb.key" in given.keys
    draft.put("tracker.wandb", "auto" if wanted else "disabled", "logger.wandb.key", "logger.wandb.key")


def _lengths(draft: Draft) -> None:
    given = draft.given
    most = (
        given.get("data.max_len")
        if given.has("data.max_len") or not given.has("data.prompt_max_len")
        else None
    )
    new = given.get("rollout.max_new_tokens") if given.has("rollout.max_new_tokens") else None
    if new is None:
        most = most or 2048
        draft.put("rollout.max_tokens", most, draft.origin("data.max_len"), "data.max_len")
        draft.put("rollout.max_prompt_tokens", most, draft.origin("data.max_len"))
        given.settle(
            f"rollout.max_tokens: prompt and response share {most} tokens there, and each may have that many "
            "here"
        )
        return
    draft.put("rollout.max_tokens", new, "max_new_tokens", "rollout.max_new_tokens")
    if most is not None and most > new:
        comment = f"{most} - {new} (max_len - max_new_tokens)"
        draft.put("rollout.max_prompt_tokens", most - new, comment, "data.max_len")


def _sizes(draft: Draft) -> None:
    given = draft.given
    prompts, group, each = (
        given.get(name) for name in ("rollout.batch_size", "rollout.n_samples_per_prompt", "train.batch_size")
    )
    formula = f"{prompts} * {group} / {each} (batch_size * n_samples_per_prompt / train.batch_size)"
    draft.updates(prompts, prompts * group / each, formula, "train.batch_size")
    if given.get("train.dynamic_batch_enable"):
        draft.copy("batch.tokens_per_microbatch", "train.max_tokens_per_gpu")
        given.take("train.dynamic_batch_enable")
    elif given.has("train.micro_batch_size"):
        micro = given.get("train.micro_batch_size")
        longest = draft.get("rollout.max_tokens") + (draft.get("rollout.max_prompt_tokens") or 0)
        comment = f"{micro} * {longest} (micro_batch_size * longest sequence)"
        draft.put("batch.tokens_per_microbatch", micro * longest, comment, "train.micro_batch_size")


def _reward(draft: Draft) -> dict[str, Any]:
    """The verifier, placed as `reward`."""
    given = draft.given
    url = given.get("reward.remote_url") if given.has("reward.remote_url") else None
    model = given.get("reward.model_name_or_path") if given.has("reward.model_name_or_path") else None
    settings: dict[str, Any]
    if isinstance(url, str) and url.endswith(".py"):
        settings = {"name": "python", "path": url, "function": "reward_func"}
        given.take("reward.remote_url")
    elif model:
        settings = {"name": "reward_model", "path": model, "scale": "own"}
        given.take("reward.model_name_or_path")
    else:
        settings = {"name": "math"}
        if url:
            given.lose(
                "reward.remote_url", "the server speaks OpenRLHF's protocol; rlvr serve-verifier speaks ours"
            )
        given.settle(
            "verifiers.reward: what scores the responses there is not carried over; `math` is a guess"
        )
    place_verifier(draft, "reward", settings, "")
    return settings


def _data(draft: Draft) -> tuple[int | None, str]:
    """The sources; rows of all together, and where that is known from."""
    given = draft.given
    named = given.get("data.prompt_dataset") if given.has("data.prompt_dataset") else None
    if named is None:
        given.settle("data: the script names no prompt_dataset; add a source")
        return None, ""
    paths = [str(each).strip() for each in str(named).split(",")]
    shares = str(given.get("data.prompt_probs")).split(",") if given.has("data.prompt_probs") else []
    most = given.get("data.max_samples")
    for number, (name, path) in enumerate(zip(source_names(paths), paths, strict=True)):
        at = ("data", name)
        _place(draft, at, path, "data.prompt_dataset", "data.prompt_split")
        if len(shares) == len(paths):
            draft.put((*at, "weight"), float(shares[number]), "prompt_probs", "data.prompt_probs")
        if most < ALL:
            draft.put((*at, "limit"), int(most), "max_samples", "data.max_samples")
            if len(paths) > 1:
                given.settle(f"data.{name}.limit: max_samples is of all sources together")
        draft.put((*at, "verifiers"), ["reward"])
    return rows_of(paths, most)


def rows_of(paths: Sequence[str], most: float) -> tuple[int | None, str]:
    """Rows of all files together, of each at most so many; and where that is known from."""
    looks = [look(path, "", int(most) if most < ALL else None) for path in paths]
    known = [seen.rows for seen in looks if seen.rows is not None]
    return (sum(known) if len(known) == len(paths) else None), "; ".join(
        seen.note for seen in looks if seen.note
    )


def _place(draft: Draft, at: tuple[str, ...], path: str, key: str, split_key: str) -> None:
    given: Given = draft.given
    draft.put((*at, "path"), path, key.rpartition(".")[2], key)
    if not Path(path).suffix:
        draft.put((*at, "split"), given.get(split_key), draft.origin(split_key), split_key)
    draft.put(
        (*at, "columns", "prompt"),
        given.get("data.input_key"),
        draft.origin("data.input_key"),
        "data.input_key",
    )
    if given.has("data.label_key"):
        draft.put((*at, "columns", "answer"), given.get("data.label_key"), "label_key", "data.label_key")
    template = given.get("data.input_template") if given.has("data.input_template") else None
    if template:
        text = str(template).replace("{}", "{prompt}").replace("\\n", "\n")
        draft.put((*at, "prompt"), text, "", "data.input_template")
    chat = "always" if given.get("data.apply_chat_template") else "never"
    draft.put((*at, "chat"), chat, draft.origin("data.apply_chat_template"), "data.apply_chat_template")


def model(draft: Draft) -> None:
    given = draft.given
    if given.get("ds.lora.rank"):
        draft.copy("model.lora.alpha", "ds.lora.alpha")
        draft.copy("model.lora.dropout", "ds.lora.dropout")
        targets = given.get("ds.lora.target_modules")
        text = ",".join(targets) if isinstance(targets, list) else targets
        draft.put(
            "model.lora.targets", text, draft.origin("ds.lora.target_modules"), "ds.lora.target_modules"
        )
    precision = given.get("ds.param_dtype")
    if precision == "fp16":
        given.lose("ds.param_dtype", "bf16 in its place")
    draft.put(
        "trainer.precision",
        "fp32" if precision == "fp32" else "bf16",
        draft.origin("ds.param_dtype"),
        "ds.param_dtype",
    )


def _engine(draft: Draft) -> None:
    given = draft.given
    shared = given.get("train.colocate_all")
    given.take("train.colocate_all")
    if shared:
        draft.copy("rollout.gpu_memory_utilization", "vllm.gpu_memory_utilization")
        draft.copy("rollout.sleep", "vllm.enable_sleep")
    else:
        given.lose(
            "vllm.gpu_memory_utilization", "the engine has GPUs of its own there, and shares them here"
        )
        given.lose("vllm.enable_sleep", "the engine has GPUs of its own there, and shares them here")


def trainer(draft: Draft) -> None:
    given = draft.given
    if given.get("ds.adam_offload"):
        if given.get("ds.zero_stage") == 0:
            given.lose("ds.adam_offload", "it needs trainer.zero_stage of 1 or more")
        else:
            draft.put("trainer.offload", "optimizer", "adam_offload", "ds.adam_offload")


def _steps(draft: Draft, rows: int | None, note: str) -> None:
    given = draft.given
    prompts, episodes = given.get("rollout.batch_size"), given.get("train.num_episodes")
    if rows is not None:
        rows = min(rows, int(given.get("data.max_samples")))
    shown = "rows" if rows is None else rows
    formula = f"floor({shown} / {prompts}) * {episodes} (rows / batch_size * num_episodes)"
    formula += f"; {note}" if note and rows is not None else ""
    draft.steps(None if rows is None else rows // prompts * episodes, formula, "train.num_episodes")


def _learning_rate(draft: Draft) -> None:
    given = draft.given
    kind = draft.schedule("actor.lr_scheduler", "cosine")
    if kind == "cosine_with_min_lr":
        share, lr = given.get("actor.min_lr_ratio"), given.get("actor.adam.lr")
        draft.put("trainer.min_lr", share * lr, f"{share} * {lr} (min_lr_ratio * lr)", "actor.min_lr_ratio")
    if kind != "constant":
        share, name = given.get("actor.lr_warmup_ratio"), "actor.lr_warmup_ratio"
        draft.share_of_steps("trainer.warmup_steps", share, "lr_warmup_ratio * steps", name)


def _bench(draft: Draft, verifier: dict[str, Any]) -> None:
    given, at = draft.given, ("eval", "benches", "eval")
    path = given.get("eval.dataset") if given.has("eval.dataset") else None
    if not path:
        return
    _place(draft, (*at, "source"), str(path), "eval.dataset", "eval.split")
    for key, value in verifier.items():
        draft.put((*at, "verifier", key), value)
    draft.copy("eval.benches.eval.k", "eval.n_samples_per_prompt")
    draft.put(
        (*at, "temperature"),
        float(given.get("eval.temperature")),
        draft.origin("eval.temperature"),
        "eval.temperature",
    )
    draft.put((*at, "max_tokens"), draft.get("rollout.max_tokens"), "as in training")
    every = given.get("eval.steps")
    draft.put("eval.every", every if every > 0 else None, draft.origin("eval.steps"), "eval.steps")
