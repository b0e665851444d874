"""TRL's trainers of preferences (DPO, KTO, ORPO, CPO with SimPO) and of reward models -> a draft."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlvr_cli.convert import pairs, trl_data, trl_parts
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.problem_files import look
from rlvr_cli.convert.verl import place_loggers

if TYPE_CHECKING:
    from rlvr_cli.convert.trl_parts import Beside

LOSSES = {
    **{"sigmoid": "sigmoid", "sigmoid_norm": "sigmoid", "hinge": "hinge", "ipo": "ipo", "robust": "robust"},
    **{"bco_pair": "bco", "nca_pair": "nca", "sppo_hard": "sppo", "exo_pair": "exo"},
    **{"apo_zero": "apo_zero", "apo_down": "apo_down"},
}
"""DPOTrainer's losses that we have."""
CPO_LOSSES = {"sigmoid": "cpo", "simpo": "simpo"}
RATES = {"reward": 1e-4}
"""Learning rates that are not 1e-6 by default."""


def convert(given: Given, rows: int | None, beside: Beside) -> Draft:
    draft, kind = Draft(given), beside.kind
    out = given.get("output_dir") if given.has("output_dir") else None
    name = given.get("run_name") if given.has("run_name") else Path(str(out)).name if out else kind
    draft.put("name", draft.name(str(name)), "", "run_name", "output_dir")
    draft.same_rows()
    for note in beside.notes:
        given.settle(note)
    _objective(draft, kind)
    _lengths(draft)
    _sizes(draft, beside)
    if given.has("dataset_name"):
        trl_data.place(draft, ("data", "train"), "dataset_train_split")
        given.take("dataset_name", "dataset_config", "dataset_train_split")
    else:
        given.settle("data: the script names no set of pairs; add a source")
    trl_parts.model(draft, beside.peft)
    pairs.common(draft)
    _steps(draft, rows)
    if not given.has("learning_rate"):
        draft.put("trainer.lr", RATES.get(kind, 1e-6), "TRL's default of learning_rate")
    trl_parts.learning_rate(draft, None)
    trl_parts.saves(draft, None)
    _evaluation(draft)
    if given.has("report_to"):
        loggers = given.get("report_to")
        place_loggers(draft, "report_to", loggers if isinstance(loggers, list) else [loggers])
    return draft


def _objective(draft: Draft, kind: str) -> None:
    given = draft.given
    if kind == "reward":
        draft.preset = "reward_model"
        key = "center_rewards_coefficient"
        draft.put("algorithm.centre", given.get(key) or 0.0, draft.origin(key), key)
        given.settle("algorithm.margin: TRL takes a column `margin` where there is one; set true for that")
        return
    draft.copy("algorithm.preference.beta", "beta")
    if kind == "dpo":
        _dpo(draft)
    elif kind == "kto":
        _kto(draft)
    elif kind == "orpo":
        pairs.preference(draft, "orpo", "orpo", "")
    else:
        _cpo(draft)


def _dpo(draft: Draft) -> None:
    given = draft.given
    kinds = given.get("loss_type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    weights = given.get("loss_weights") if given.has("loss_weights") else None
    weights = [float(w) for w in weights] if isinstance(weights, list) else [1.0] * len(kinds)
    parts = dict(zip(map(str, kinds), weights, strict=False))
    likelihood = parts.pop("sft", 0.0)
    first = next(iter(parts), "sigmoid")
    if first not in LOSSES:
        given.lose("loss_type", "there is no such loss; sigmoid stands in its place")
        given.settle(f"algorithm/preference: {first} is not there; sigmoid is a guess")
    elif len(parts) > 1:
        given.lose("loss_type", f"one loss of pairs and the likelihood; {first} of them")
        given.settle(f"algorithm/preference: TRL adds {', '.join(parts)} here; {first} alone is kept")
    pairs.preference(draft, "dpo", LOSSES.get(first, "sigmoid"), draft.origin("loss_type"), "loss_type")
    share = parts.get(first, 1.0)
    if likelihood and share == 0:
        given.lose("loss_weights", f"without {first} no pair is compared")
        given.settle("the likelihood alone is fine-tuning on the better answers: rlvr sft")
    elif likelihood:
        draft.put(
            "algorithm.sft_coef", likelihood / share, f"{likelihood} / {share} (loss_weights)", "loss_weights"
        )
    elif given.has("rpo_alpha") and given.get("rpo_alpha"):
        draft.put("algorithm.sft_coef", float(given.get("rpo_alpha")), "rpo_alpha", "rpo_alpha")
    if share != 1.0:
        given.settle(
            f"trainer.lr: TRL multiplies the loss by {share}, which Adam does not see; nothing is done"
        )
        given.take("loss_weights")
    if first == "sigmoid_norm":
        draft.put("algorithm.preference.length_normalised", True, "sigmoid_norm")
    if first in ("robust", "exo_pair"):  # what TRL's others ignore
        draft.copy("algorithm.preference.label_smoothing", "label_smoothing")
    if given.has("ld_alpha") and (first == "sigmoid_norm" or first == "ipo"):
        given.lose("ld_alpha", "means over tokens have no weight of a tail")
    elif given.has("ld_alpha"):
        draft.copy("algorithm.preference.tail_weight", "ld_alpha")
    if given.get("reference_free"):
        draft.put("algorithm.preference.reference_free", True, "reference_free", "reference_free")


def _kto(draft: Draft) -> None:
    given = draft.given
    pairs.preference(draft, "kto", "kto", "")
    if given.has("loss_type") and given.get("loss_type") != "kto":
        given.lose("loss_type", "kto stands in its place")
        given.settle(f"algorithm/preference: {given.get('loss_type')} is not there; kto is a guess")
    given.take("loss_type")
    draft.copy("algorithm.preference.desirable", "desirable_weight")
    draft.copy("algorithm.preference.undesirable", "undesirable_weight")


def _cpo(draft: Draft) -> None:
    given = draft.given
    said = str(given.get("loss_type"))
    if said not in CPO_LOSSES:
        given.lose("loss_type", "there are sigmoid and simpo; sigmoid stands in its place")
        given.settle(f"algorithm/preference: {said} is not there; cpo is a guess")
    pairs.preference(draft, "cpo", CPO_LOSSES.get(said, "cpo"), draft.origin("loss_type"), "loss_type")
    draft.copy("algorithm.sft_coef", "cpo_alpha")
    if said == "simpo":
        draft.copy("algorithm.preference.gamma", "simpo_gamma")
        given.lose("label_smoothing", "simpo has none")
    else:
        draft.copy("algorithm.preference.label_smoothing", "label_smoothing")


def _lengths(draft: Draft) -> None:
    given = draft.given
    most = given.get("max_length") or 2048
    draft.put("algorithm.max_length", most, draft.origin("max_length"), "max_length")


def _sizes(draft: Draft, beside: Beside) -> None:
    given, processes = draft.given, beside.processes or 1
    if beside.processes is None:
        given.settle(
            "processes: taken as 1, and batch.examples_per_step is what one has; convert again with "
            "--processes N"
        )
    each, accumulated = (given.get(k) for k in ("per_device_train_batch_size", "gradient_accumulation_steps"))
    formula = f"{each} * {processes} * {accumulated} (per_device_train_batch_size * processes * "
    formula += "gradient_accumulation_steps)"
    taken = ("per_device_train_batch_size", "gradient_accumulation_steps")
    pairs.sizes(draft, each * processes * accumulated, formula, each, *taken)
    draft.put("trainer.ranks", processes, "processes")


def _steps(draft: Draft, rows: int | None) -> None:
    given = draft.given
    if (most := given.get("max_steps")) > 0:
        draft.put("trainer.steps", most, "max_steps", "max_steps")
        return
    path = given.get("dataset_name") if given.has("dataset_name") else None
    note = "--rows" if rows is not None else ""
    if rows is None and isinstance(path, str):
        seen = look(path, "")
        rows, note = seen.rows, seen.note
    epochs = given.get("num_train_epochs")
    pairs.steps(draft, rows, note, epochs, "num_train_epochs", "num_train_epochs", "max_steps")


def _evaluation(draft: Draft) -> None:
    given = draft.given
    strategy = given.get("eval_strategy")
    if strategy in ("no", None, False) or not given.has("dataset_name"):
        return
    for path, (value, comment) in list(draft.values.items()):
        if path[:2] == ("data", "train") and path[2:] != ("split",):
            draft.put(("eval", "source", *path[2:]), value, comment)
    split = given.get("dataset_test_split")
    draft.put(("eval", "source", "split"), split, draft.origin("dataset_test_split"))
    every = given.get("eval_steps")
    if strategy == "steps" and every >= 1:
        draft.put("eval.every", int(every), draft.origin("eval_steps"), "eval_steps")
    elif strategy == "steps":
        draft.share_of_steps("eval.every", every, "eval_steps * steps", "eval_steps", least=1)
    else:
        draft.put("eval.every", None, "")
        given.settle("eval.every: TRL measures after each epoch; null is when the run begins and ends")
    given.take("eval_strategy", "dataset_test_split")
