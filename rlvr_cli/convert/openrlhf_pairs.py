"""OpenRLHF's train_dpo and train_rm -> a draft."""

from __future__ import annotations

from pathlib import Path

from rlvr_cli.convert import openrlhf, pairs
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.verl_data import source_names

RATES = {"dpo": 1e-5, "rm": 9e-6}
"""Learning rates by default."""
COLUMNS = {"prompt": "prompt_key", "chosen": "chosen_key", "rejected": "rejected_key"}


def convert(given: Given, kind: str, rows: int | None) -> Draft:
    """`kind`: dpo or rm."""
    draft = Draft(given)
    openrlhf.named(draft, kind)
    draft.same_rows()
    _objective(draft, kind)
    draft.put("algorithm.max_length", given.get("data.max_len"), draft.origin("data.max_len"), "data.max_len")
    _sizes(draft)
    known = _data(draft)
    openrlhf.model(draft)
    pairs.common(draft)
    openrlhf.trainer(draft)
    if rows is not None:
        known = min(rows, int(given.get("max_samples"))), "--rows"
    pairs.steps(draft, *known, given.get("max_epochs"), "max_epochs", "max_epochs")
    _learning_rate(draft, kind)
    _evaluation(draft)
    openrlhf.wandb(draft)
    return draft


def _objective(draft: Draft, kind: str) -> None:
    given = draft.given
    if kind == "rm":
        draft.preset = "reward_model"
        margin = bool(given.get("margin_loss"))
        draft.put("algorithm.margin", margin, draft.origin("margin_loss"), "margin_loss")
        draft.put("algorithm.centre", 0.0, "OpenRLHF has none")
        return
    ipo = bool(given.get("ipo"))
    pairs.preference(draft, "dpo", "ipo" if ipo else "sigmoid", draft.origin("ipo"), "ipo")
    draft.copy("algorithm.preference.beta", "beta")
    if ipo:
        draft.put("algorithm.preference.length_normalised", False, "OpenRLHF takes sums")
        given.lose("label_smoothing", "ipo has none")
    else:
        draft.copy("algorithm.preference.label_smoothing", "label_smoothing")
    draft.copy("algorithm.sft_coef", "nll_loss_coef")
    if given.has("ref.model_name_or_path"):
        if given.get("ref.model_name_or_path") == given.get("model.model_name_or_path"):
            given.take("ref.model_name_or_path")
        else:
            given.lose("ref.model_name_or_path", "the reference is the start model")
            given.settle("the reference is another model than the start there; it is the start model here")


def _sizes(draft: Draft) -> None:
    given = draft.given
    each, whole = given.get("train.micro_batch_size"), given.get("train.batch_size")
    taken = ("train.batch_size", "train.micro_batch_size")
    pairs.sizes(draft, whole, draft.origin("train.batch_size"), each, *taken)


def _data(draft: Draft) -> tuple[int | None, str]:
    """The sources; rows of all together, and where that is known from."""
    given = draft.given
    if not given.has("data.dataset"):
        given.settle("data: the script names no dataset; add a source")
        return None, ""
    paths = [str(each).strip() for each in str(given.get("data.dataset")).split(",")]
    shares = str(given.get("data.dataset_probs")).split(",") if given.has("data.dataset_probs") else []
    most = given.get("max_samples")
    for number, (name, path) in enumerate(zip(source_names(paths), paths, strict=True)):
        at = ("data", name)
        _place(draft, at, path, "train_split")
        if len(shares) == len(paths) > 1:
            draft.put((*at, "weight"), float(shares[number]), "dataset_probs")
        if most < openrlhf.ALL:
            draft.put((*at, "limit"), int(most), "max_samples")
            if len(paths) > 1:
                given.settle(f"data.{name}.limit: max_samples is of all sources together")
    given.take("data.dataset", "data.dataset_probs", "max_samples")
    return openrlhf.rows_of(list(map(_path, paths)), most)


def _path(given: str) -> str:
    """json@folder: how it is read, and where it is."""
    return given.partition("@")[2] or given


def _place(draft: Draft, at: tuple[str, ...], path: str, split_key: str) -> None:
    given = draft.given
    path = _path(path)
    draft.put((*at, "path"), path, "dataset")
    if not Path(path).suffix:
        draft.put((*at, "split"), given.get(split_key), draft.origin(split_key), split_key)
    for ours, key in COLUMNS.items():
        if given.has(key) and given.get(key) and given.get(key) != ours:
            draft.put((*at, "columns", ours), given.get(key), key)
        given.take(key)
    rewards = draft.preset == "reward_model"
    template = given.get("input_template") if given.has("input_template") else None
    if template and not rewards:
        text = str(template).replace("{}", "{prompt}").replace("\\n", "\n")
        draft.put((*at, "prompt"), text, "", "input_template")
    elif template:
        given.lose("input_template", "a reward model is asked about the prompt as the data set has it")
    if not rewards:
        chat = "always" if given.get("apply_chat_template") else "never"
        draft.put((*at, "chat"), chat, draft.origin("apply_chat_template"))
    given.take("apply_chat_template")


def _learning_rate(draft: Draft, kind: str) -> None:
    given = draft.given
    rate = given.get("learning_rate") if given.has("learning_rate") else RATES[kind]
    draft.put("trainer.lr", rate, draft.origin("learning_rate"), "learning_rate")
    schedule = draft.schedule("lr_scheduler", "cosine")
    if schedule == "cosine_with_min_lr":
        draft.put("trainer.min_lr", 0.1 * rate, f"0.1 * {rate} (OpenRLHF's)")
    if schedule != "constant":
        share = given.get("lr_warmup_ratio")
        draft.share_of_steps("trainer.warmup_steps", share, "lr_warmup_ratio * steps", "lr_warmup_ratio")


def _evaluation(draft: Draft) -> None:
    given = draft.given
    path = given.get("eval_dataset") if given.has("eval_dataset") else None
    if not path:
        return
    _place(draft, ("eval", "source"), str(path), "eval_split")
    every = given.get("eval_steps")
    draft.put("eval.every", every if every > 0 else None, draft.origin("eval_steps"), "eval_steps")
    given.take("eval_dataset")
