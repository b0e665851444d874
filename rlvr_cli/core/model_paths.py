"""Where the model of a recipe is: a folder, a run directory, a hub id, or made on the spot."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path

from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError

TINY, TINY_MOE, TINY_VISION = "builtin:tiny", "builtin:tiny_moe", "builtin:tiny_vision"
BUILT_IN = (TINY, TINY_MOE, TINY_VISION)
"""Models made at random on the spot: a dense one, a mixture of experts, and one that sees."""
ALIKE = 0.8
"""From this ratio on (difflib) a name that is not there resembles one that is."""
MODEL_FILES = ("config.json", "recipe.yaml")


class NotMadeYet(UserError):
    """The model is that of a shipped recipe which has not been run here."""


def resolve_model(path: str, key: str = "model.path", parts: tuple[str, ...] = ("final",)) -> str:
    """A model folder, a run directory's `final/`, a hub id or a built-in model; local paths must exist.

    `parts` are the folders of a run directory to look into, in order; `key` is the recipe's, for messages.
    """
    if path.startswith("builtin:"):
        if path not in BUILT_IN:
            raise UserError(f"{key}: there is no {path}; the built-in models are {' and '.join(BUILT_IN)}")
        return path
    folder = Path(path).expanduser()
    for candidate in (folder, *(folder / part for part in parts)):
        if (candidate / "config.json").is_file():
            return str(candidate)
    if (folder / "recipe.yaml").is_file():
        raise UserError(f"{key}: the run in {path} has no final/ yet; finish it with `rlvr train {path}`")
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{key}: {path} holds adapters{_of_base(folder)} and no model; merge them into it first"
        )
    if folder.exists():
        raise UserError(f"{key}: {path} has no config.json, so it is neither a model nor a run directory")
    near = _neighbour(path)
    if not _looks_local(path) and near is None:
        return path
    if folder.name in shipped_recipes.recipes():
        verb = "sft" if "sft" in folder.name else "train"
        raise NotMadeYet(f"{key}: {path} does not exist; run `rlvr {verb} {folder.name}` first")
    meant = "give a Hugging Face folder, a hub id or a run directory" + (
        " (a hub id is owner/name)" * ("/" not in path)
    )
    raise UserError(f"{key}: {path} does not exist; {f'did you mean {near}?' if near else meant}")


def _of_base(folder: Path) -> str:
    try:
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" of {base}"


def _looks_local(path: str) -> bool:
    """`owner/name` may be a hub id; a bare name, a path that names an existing folder, or `runs/`, is not."""
    first = path.split("/")[0]  # not of a Path, which drops a leading ./
    hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", path) and first not in (".", "..", "runs")
    return not hub_id or Path(first).is_dir()


def _neighbour(path: str) -> str | None:
    """A model or run that is there and has nearly the name of `path`: beside it, or in a folder with nearly
    the name of
    its own."""
    given = Path(path).expanduser()
    folders = [given.parent]
    if not given.parent.is_dir():
        there = {each.name: each for each in _children(given.parent.parent)}
        folders = [there[name] for name in difflib.get_close_matches(given.parent.name, there, cutoff=ALIKE)]
    places = [str(each) for folder in folders for each in _children(folder) if _is_model(each)]
    near = difflib.get_close_matches(os.path.normpath(given), places, n=1, cutoff=ALIKE)
    return near[0] if near else None


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in MODEL_FILES)


def _children(folder: Path, most: int = 1000) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [
                Path(folder / each.name)
                for each, _ in zip(entries, range(most), strict=False)
                if each.is_dir()
            ]
    except OSError:
        return []
