"""A preset and what it builds on: `defaults: [grpo, override advantage: median]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr_cli.algorithms import PARTS
from rlvr_cli.compose.files import load_yaml
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError, hint

Tree = dict[str, Any]


def bodies(name: str, folders: Sequence[Path], where: str = "command line") -> list[Tree]:
    """The files of a preset and of those it builds on, ancestors first, each with one form of defaults.

    `folders` have an `algorithm/` each, in the order in which they are searched.
    """
    found: list[Tree] = []
    seen: list[Path] = []
    parent: str | None = name
    while parent is not None:
        path = _file(parent, [*[each.parent for each in seen[-1:]], *(f / "algorithm" for f in folders)])
        if path is None:
            known = {p.stem for f in folders for p in (f / "algorithm").glob("*.yaml")}
            raise UserError(f"{where}: there is no algorithm '{parent}'{hint(parent, known)}")
        if path in seen:
            raise UserError(f"{seen[-1].name}: defaults: it builds on itself, by '{parent}'")
        seen.append(path)
        body = load_yaml(path)
        parent, options = _defaults(path, body)
        named = {"name": path.stem} if parent is not None else {}
        found.insert(0, named | body | {"defaults": options})
        where = f"{path.name}: defaults"
    return found


def flat(layers: Sequence[Tree]) -> Tree:
    """One preset that names the same options and no values, for Hydra, which only has to know the groups."""
    options = {
        axis: option for body in layers for entry in body["defaults"] for axis, option in entry.items()
    }
    return {"defaults": [{axis: option} for axis, option in options.items()], "name": layers[-1]["name"]}


def _file(name: str, folders: Sequence[Path]) -> Path | None:
    found = (folder / f"{name.removesuffix('.yaml')}.yaml" for folder in folders)
    return next((path.resolve() for path in found if path.is_file()), None)


def _defaults(path: Path, body: Tree) -> tuple[str | None, list[dict[str, str]]]:
    """The preset that the defaults list names, if one, and axis -> option of its other entries."""
    parents: list[str] = []
    options: list[dict[str, str]] = []
    entries = body.get("defaults", [])
    if not isinstance(entries, list):
        raise UserError(f"{path.name}: defaults must be a list, one `- part: option` a line")
    for entry in entries:
        key, choice = (
            next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else ("", entry)
        )
        if choice is None:  # `{grpo}`, which YAML reads as {grpo: null}
            key, choice = "", key
        axis = str(key).removeprefix("override ").strip().lstrip("/").removeprefix("algorithm/")
        if choice == "_self_" and not key:
            continue
        if isinstance(choice, str) and axis in ("", "algorithm"):
            parents.append(choice.lstrip("/").removeprefix("algorithm/"))
        elif isinstance(choice, str) and axis in PARTS:
            options.append({axis: choice})
        elif isinstance(choice, str):
            raise UserError(f"{path.name}: defaults: algorithms have no part '{axis}'{hint(axis, PARTS)}")
        else:
            raise UserError(
                f"{path.name}: defaults: '{entry}' is no entry of the list; write `- part: option`, one a "
                "line"
            )
    if len(parents) > 1:
        raise UserError(f"{path.name}: defaults: it builds on {' and '.join(parents)}; name one of them")
    return (parents[0] if parents else None), options


def folders_of(recipe: Path | None, more: Sequence[Path]) -> list[Path]:
    """Where presets are searched: beside the recipe, in plugins (`more`), in the package."""
    return [*([recipe.parent] if recipe else []), *more, shipped_recipes.RECIPES, shipped_recipes.CONF]
