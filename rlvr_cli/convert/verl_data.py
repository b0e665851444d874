"""Training and validation files of verl, and who scores their rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.convert import scorers as own
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.problem_files import Look, look

FUNCTION = "reward.custom_reward_function."
COLUMN = "data.reward_fn_key"


@dataclass
class Scorers:
    """What the rest of the conversion needs to know of data and rewards."""

    rows: int | None = None
    """Of all training files; None where one is not here."""
    note: str = ""
    wrong: set[float] = field(default_factory=set)
    """What verl's scorers of the training files give a wrong answer."""
    benches: list[str] = field(default_factory=list)


def convert(draft: Draft) -> Scorers:
    given, found = draft.given, Scorers()
    function = _function(draft)
    limit = given.get("data.train_max_samples")
    limit = limit if isinstance(limit, int) and limit > 0 else None
    paths = _paths(given, "data.train_files")
    looks = [look(path, given.get(COLUMN), limit) for path in paths]
    names = source_names(paths)
    for name, path, seen in zip(names, paths, looks, strict=True):
        _source(draft, name, path, seen, limit, function, found)
        if len(paths) > 1:
            _weight(draft, name, seen)
    known = [seen.rows for seen in looks if seen.rows is not None]
    found.rows = sum(known) if paths and len(known) == len(paths) else None
    found.note = "; ".join(dict.fromkeys(seen.note for seen in looks if seen.note))
    if not paths:
        given.settle("data: the script names no data.train_files; add a source")
    for name, path in zip(
        *(lambda p: (source_names(p, "val"), p))(_paths(given, "data.val_files")), strict=True
    ):
        _bench(draft, name, path, function, found)
    return found


def source_names(paths: list[str], single: str = "train") -> list[str]:
    """A key for each file: `train` for one, else names by folder and file, all different."""
    if len(paths) == 1:
        return [single]
    names: list[str] = []
    for path in paths:
        parts = Path(path).parts[-2:]
        generic = re.match(r"(train|test|val)", Path(path).stem)
        name = re.sub(r"[^\w+-]+", "_", parts[0] if generic and len(parts) > 1 else Path(path).stem) or single
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    return names


def _paths(given: Given, key: str) -> list[str]:
    value = given.get(key) if given.has(key) else None
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


def _function(draft: Draft) -> dict[str, Any] | None:
    """The verifier that the script's own reward function or reward model becomes."""
    given = draft.given
    path = given.get(FUNCTION + "path") if given.has(FUNCTION + "path") else None
    if path is not None and str(path).startswith("pkg://"):
        given.lose(FUNCTION + "path", "the verifier python reads a file; name the module's file in path")
        given.settle(f"verifiers.reward.path: the file of {path}")
        path = f"{str(path).removeprefix('pkg://').replace('.', '/')}.py"
    if path is not None:
        arguments = given.under(FUNCTION + "reward_kwargs.")
        settings: dict[str, Any] = {"name": "python", "path": str(path).removeprefix("file://")}
        settings["function"] = given.get(FUNCTION + "name")
        if arguments:
            settings["kwargs"] = arguments
        given.take(
            FUNCTION + "path", FUNCTION + "name", *(f"{FUNCTION}reward_kwargs.{key}" for key in arguments)
        )
        place_verifier(draft, "reward", settings, "custom_reward_function")
        given.take("reward.reward_manager.name")
        return settings
    if given.get("reward_model.enable") and given.has("reward_model.model.path"):
        settings = {"name": "reward_model", "path": given.get("reward_model.model.path"), "scale": "own"}
        given.take("reward_model.enable", "reward_model.model.path")
        place_verifier(draft, "reward", settings, "reward_model")
        return settings
    return None


def place_verifier(draft: Draft, key: str, settings: dict[str, Any], comment: str) -> None:
    """An entry of `verifiers`, its settings a line each."""
    for name, value in settings.items():
        draft.put(("verifiers", key, name), value, comment if name == "name" else "")


def _source(
    draft: Draft,
    name: str,
    path: str,
    seen: Look,
    limit: int | None,
    function: dict[str, Any] | None,
    found: Scorers,
) -> None:
    given, at = draft.given, ("data", name)
    draft.put((*at, "path"), path, "train_files", "data.train_files")
    if given.get("data.prompt_key") != "prompt":
        draft.put((*at, "columns", "prompt"), given.get("data.prompt_key"), "prompt_key", "data.prompt_key")
    given.take("data.prompt_key")
    if limit is not None:
        draft.put((*at, "limit"), limit, "train_max_samples", "data.train_max_samples")
    if function is not None:
        draft.put((*at, "verifiers"), ["reward"], "", COLUMN)
        return
    draft.put((*at, "verifiers_by", "column"), given.get(COLUMN), "as verl chooses its scorers", COLUMN)
    for source, how in _routes(given, path, seen).items():
        scorer = own.SCORERS[own.pattern_of(source) or "lighteval/MATH"]
        draft.put((*at, "verifiers_by", "map", source), [scorer.key], how)
        place_verifier(draft, scorer.key, scorer.settings, scorer.differs)
        found.wrong.add(scorer.wrong)


def _routes(given: Given, path: str, seen: Look) -> dict[str, str]:
    """Values of the column that routes -> how they are known."""
    if seen.kinds:
        for source in seen.kinds:
            if own.pattern_of(source) is None:
                given.settle(
                    f"verifiers for '{source}' of {path}: verl has no scorer for it either; `math` is a guess"
                )
        return {source: f"{rows} rows" for source, rows in seen.kinds.items()}
    guess = own.guessed(path)
    if guess is not None:
        return {
            guess: "by the file's name; it is not here"
            if seen.rows is None or seen.note
            else "by the file's name"
        }
    given.settle(
        f"data: what {path} holds in its column {given.get(COLUMN)} is not known here; these are verl's own "
        "values"
    )
    return {"openai/gsm8k": "", "DigitalLearningGmbH/MATH-lighteval": "", "math_dapo": "", "aime*": ""}


def _weight(draft: Draft, name: str, seen: Look) -> None:
    if seen.rows is not None:
        draft.put(("data", name, "weight"), seen.rows, "its rows: verl puts the files together")
    else:
        draft.given.settle(f"data.{name}.weight: verl puts the files together, so that each weighs its rows")


def _bench(draft: Draft, name: str, path: str, function: dict[str, Any] | None, found: Scorers) -> None:
    given, at = draft.given, ("eval", "benches", name)
    draft.put((*at, "source", "path"), path, "val_files", "data.val_files")
    if given.get("data.prompt_key") != "prompt":
        draft.put((*at, "source", "columns", "prompt"), given.get("data.prompt_key"), "prompt_key")
    limit = given.get("data.val_max_samples")
    if isinstance(limit, int) and limit > 0:
        draft.put((*at, "source", "limit"), limit, "val_max_samples", "data.val_max_samples")
    settings, comment = function, "custom_reward_function"
    if settings is None:
        seen = look(path, given.get(COLUMN))
        kinds = sorted(seen.kinds, key=lambda kind: -seen.kinds[kind])
        source = kinds[0] if kinds else own.guessed(path)
        if len(kinds) > 1:
            given.settle(
                f"eval.benches.{name}: {path} holds {', '.join(kinds)}, and a bench has one verifier; cut it "
                f"in {len(kinds)}"
            )
        scorer = own.SCORERS[(own.pattern_of(source) if source else None) or "lighteval/MATH"]
        if source is None:
            given.settle(
                f"eval.benches.{name}.verifier: what {path} holds is not known here; `math` is a guess"
            )
        settings, comment = scorer.settings, f"for {source}" if source else ""
    for key, value in settings.items():
        draft.put((*at, "verifier", key), value, comment if key == "name" else "")
    found.benches.append(name)
