"""A launch command of verl -> a draft: sizes, model, trainer, where rewards come from."""

from __future__ import annotations

import re
from typing import Any

from rlvr_cli.convert import verl_algorithm, verl_data
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given

LAUNCH = re.compile(r"(?:^|[./])main_(?:ppo|dapo|\w+)(?:\.py)?$")
ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor.", "actor_rollout_ref.rollout.", "actor_rollout_ref.model."


def convert(given: Given, rows: int | None) -> Draft:
    """`rows`: of all training files together, where their number is not to be looked up."""
    draft = Draft(given)
    draft.put(
        "name", draft.name(str(given.get("trainer.experiment_name") or "verl")), "", "trainer.experiment_name"
    )
    draft.same_rows()
    scorers = verl_data.convert(draft)
    _sizes(draft)
    verl_algorithm.convert(draft, scorers)
    _model(draft)
    _engine(draft)
    _steps(draft, rows if rows is not None else scorers.rows, scorers.note if rows is None else "--rows")
    _learning_rate(draft)
    _ranks(draft)
    _evaluation(draft, scorers)
    _records(draft)
    return draft


def _sizes(draft: Draft) -> None:
    given, mini = draft.given, ACTOR + "ppo_mini_batch_size"
    prompts = given.get("data.train_batch_size")
    each = given.get(mini)
    formula = f"{prompts} / {each} (train_batch_size / ppo_mini_batch_size)"
    draft.updates(prompts, prompts / each, formula, mini)
    longest = given.get("data.max_prompt_length") + given.get("data.max_response_length")
    micro, tokens = ACTOR + "ppo_micro_batch_size_per_gpu", ACTOR + "ppo_max_token_len_per_gpu"
    dynamic = ACTOR + "use_dynamic_bsz"
    if given.get(dynamic):
        draft.put("batch.tokens_per_microbatch", given.get(tokens), draft.origin(tokens), tokens, dynamic)
    elif given.has(micro) and given.get(micro):
        count = given.get(micro)
        comment = f"{count} * {longest} (ppo_micro_batch_size_per_gpu * longest sequence)"
        draft.put("batch.tokens_per_microbatch", count * longest, comment, micro)


def _model(draft: Draft) -> None:
    given = draft.given
    rank = given.get(MODEL + "lora_rank")
    if rank:
        draft.copy("model.lora.alpha", MODEL + "lora_alpha")
        targets = given.get(MODEL + "target_modules")
        targets = ",".join(targets) if isinstance(targets, list) else targets
        draft.put(
            "model.lora.targets", targets, draft.origin(MODEL + "target_modules"), MODEL + "target_modules"
        )
    changed = given.under(MODEL + "override_config.")
    changed.pop("attn_implementation", None)
    if changed:
        names = [MODEL + f"override_config.{key}" for key in changed]
        draft.put(("model", "overrides"), changed, "model.override_config", *names)


def _engine(draft: Draft) -> None:
    given, name = draft.given, ROLLOUT + "name"
    engine = given.get(name)
    if engine == "hf":
        draft.put("rollout.engine", "hf", "rollout.name", name)
    else:
        comment = "" if engine == "vllm" else f"{engine} there; the policy it samples from is the same"
        draft.put("rollout.engine", "vllm", comment or draft.origin(name), name)
    if given.get("reward.num_workers") is not None and given.has("reward.num_workers"):
        draft.copy("verification.workers", "reward.num_workers")


def _steps(draft: Draft, rows: int | None, note: str) -> None:
    given = draft.given
    prompts, epochs = given.get("data.train_batch_size"), given.get("trainer.total_epochs")
    fixed = given.get("trainer.total_training_steps")
    if fixed is not None and given.has("trainer.total_training_steps"):
        draft.put("trainer.steps", fixed, "total_training_steps", "trainer.total_training_steps")
        return
    formula = (
        f"floor({'rows' if rows is None else rows} / {prompts}) * {epochs} (rows / train_batch_size * epochs)"
    )
    formula += f"; {note}" if note and rows is not None else ""
    draft.steps(None if rows is None else rows // prompts * epochs, formula, "trainer.total_epochs")
    if given.get("algorithm.filter_groups.enable"):
        given.settle(
            "trainer.steps: with filter_groups verl draws more prompts a step, so that its epochs are fewer "
            "steps than this; here a step counts whatever it draws"
        )


def _learning_rate(draft: Draft) -> None:
    given, optim = draft.given, ACTOR + "optim."
    warmup, ratio = given.get(optim + "lr_warmup_steps"), optim + "lr_warmup_steps_ratio"
    if warmup is not None and warmup > 0:
        draft.copy("trainer.warmup_steps", optim + "lr_warmup_steps")
    elif share := given.get(ratio):
        draft.share_of_steps("trainer.warmup_steps", share, "lr_warmup_steps_ratio * steps", ratio)
    lowest = given.get(optim + "min_lr_ratio")
    if lowest and draft.get("trainer.schedule") == "cosine":
        lr = given.get(optim + "lr")
        draft.put(
            "trainer.min_lr", lowest * lr, f"{lowest} * {lr} (min_lr_ratio * lr)", optim + "min_lr_ratio"
        )


def _ranks(draft: Draft) -> None:
    given, fsdp = draft.given, ACTOR + "fsdp_config."
    strategy = given.get(ACTOR + "strategy")
    if strategy not in ("fsdp", "fsdp2"):
        given.lose(ACTOR + "strategy", "ZeRO-3 in its place")
    size = given.get(fsdp + "fsdp_size")
    if size not in (-1, None):
        given.lose(fsdp + "fsdp_size", "ZeRO-3 shards over all ranks")
    draft.put(
        "trainer.zero_stage", 3, f"{strategy} shards weights too", ACTOR + "strategy", fsdp + "fsdp_size"
    )
    if given.get(fsdp + "param_offload"):
        draft.put(
            "trainer.offload", "all", "param_offload", fsdp + "param_offload", fsdp + "optimizer_offload"
        )
    elif given.get(fsdp + "optimizer_offload"):
        draft.put("trainer.offload", "optimizer", "optimizer_offload", fsdp + "optimizer_offload")
    place_ranks(draft, "trainer.nnodes", "trainer.n_gpus_per_node")


def place_ranks(draft: Draft, nodes_key: str, gpus_key: str) -> None:
    """Processes on one machine; of several a launcher starts them."""
    given = draft.given
    nodes, gpus = given.get(nodes_key), given.get(gpus_key)
    if not isinstance(nodes, int) or not isinstance(gpus, int):
        return
    if nodes == 1:
        draft.put("trainer.ranks", gpus, draft.origin(gpus_key), gpus_key, nodes_key)
        return
    given.take(nodes_key, gpus_key)
    given.settle(
        f"ranks: {nodes} machines with {gpus} GPUs each; start it on each of them by torchrun --nnodes "
        f"{nodes} --nproc-per-node {gpus} ... -m rlvr_cli, or by srun"
    )


def _evaluation(draft: Draft, scorers: verl_data.Scorers) -> None:
    given, val = draft.given, ROLLOUT + "val_kwargs."
    if not scorers.benches:
        return
    every = given.get("trainer.test_freq")
    draft.put(
        "eval.every",
        every if every and every > 0 else None,
        draft.origin("trainer.test_freq"),
        "trainer.test_freq",
    )
    draft.copy("eval.at_start", "trainer.val_before_train")
    samples = bool(given.get(val + "do_sample"))
    temperature: Any = given.get(val + "temperature") if samples else 0
    for name in scorers.benches:
        at = ("eval", "benches", name)
        draft.put(
            (*at, "temperature"),
            float(temperature),
            "val_kwargs.temperature" if samples else "do_sample is false",
            val + "do_sample",
        )
        count = given.get(val + "n")
        if count > 1 and temperature == 0:
            given.lose(val + "n", "at temperature 0 all samples are the same")
            count = 1
        draft.put((*at, "k"), count, draft.origin(val + "n"), val + "n")
        if samples:
            given.take(val + "temperature")
            draft.put((*at, "top_p"), given.get(val + "top_p"), draft.origin(val + "top_p"), val + "top_p")
        draft.put((*at, "max_tokens"), given.get("data.max_response_length"), "data.max_response_length")


def _records(draft: Draft) -> None:
    given = draft.given
    draft.copy("seed", "data.seed")
    keep = given.get("trainer.max_actor_ckpt_to_keep")
    if keep is not None:
        draft.copy("checkpoint.keep", "trainer.max_actor_ckpt_to_keep")
    if draft.get("resume") not in (None, "auto", "never"):
        draft.values.pop(("resume",))
        given.lose("trainer.resume_mode", "a run continues from the newest checkpoint of its out")
    loggers = given.get("trainer.logger")
    place_loggers(draft, "trainer.logger", loggers if isinstance(loggers, list) else [str(loggers)])


def place_loggers(draft: Draft, key: str, names: list[Any]) -> None:
    """W&B and the terminal; what else records there is told."""
    given = draft.given
    draft.put("tracker.wandb", "auto" if "wandb" in names else "disabled", draft.origin(key), key)
    here = (None, "console", "wandb", "none", "all", "tensorboard")
    others = [str(name) for name in names if name not in here]
    if "tensorboard" in names:
        draft.put("tracker.tensorboard", True, draft.origin(key), key)
    if others:
        given.lose(key, f"no {', '.join(others)} here; metrics are in metrics.jsonl and report.html")
