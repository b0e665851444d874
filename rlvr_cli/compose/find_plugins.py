"""Which plugins a recipe has and where they are: its `plugins`, the folder beside it, and entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlvr_cli import algorithms, environments, verifiers
from rlvr_cli.compose.plugin_places import Places, entry_points, of_folder, resolve, say
from rlvr_cli.core import plugins, shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.plugins import NAME, Plugin

FOLDER = "plugins"
"""Beside a recipe: what is in it is loaded without being named."""
SLOW_S = 1.0
"""An import that takes longer is told of: every command and every rank waits for it."""


_folders: list[Path] = []


def folders() -> list[Path]:
    """Of the plugins in use, those whose `algorithm/`, `verifier/`, `data/`, ... have entries of groups."""
    return list(_folders)


def load(named: Any, where: str, places: Places, recipe: Path | None = None) -> list[str]:
    """Import what `named` (the value of `plugins`) names, `plugins/` beside the recipe and entry points.

    They and no others are in use then. Returns the names of all but entry points as a recipe has them:
    absolute paths, and modules. UserError where one is not there, does not import, or has a name that
    something else has.
    """
    _folders.clear()
    if not isinstance(named, list):
        raise UserError(f"{where}: plugins is '{named}'; it must be a list, written [my_algo.py, my_package]")
    found: list[Plugin] = []
    having: list[Path] = []
    for text in named:
        found += resolve(text, where, places, having)
    beside = recipe.parent / FOLDER if recipe is not None else None
    if beside is not None and beside.is_dir():
        found += of_folder(beside.resolve(), f"{FOLDER}/", having)
    found = list({(plugin.module, plugin.path): plugin for plugin in found}.values())
    names = [str(plugin.path or plugin.module) for plugin in found]
    found += entry_points({plugin.module for plugin in found})
    _refuse_twice(found)
    plugins.use(found)
    having += _installed_folders(found)
    having = [folder for folder in dict.fromkeys(having) if recipe is None or folder != recipe.parent]
    try:
        if found:
            _refuse_taken(having)
    except UserError:
        plugins.use([])
        raise
    _folders.extend(having)
    return names


def told() -> str | None:
    """One line on the plugins in use and what they bring; None: there are none."""
    lines = []
    for plugin in plugins.active():
        has = ", ".join(filter(None, (_described(v) for p, v in plugins.members() if p is plugin)))
        slow = plugins.seconds.get(plugin.module, 0.0)
        late = f", imported in {slow:.1f} s" if slow >= SLOW_S else ""
        lines.append(f"{plugin.shown} ({has or 'nothing found in it'}{late})")
    return f"plugins: {'; '.join(lines)}" if lines else None


def tell() -> None:
    """Say it to the user of a command."""
    if line := told():
        say(line)


def entries(group: str) -> list[str]:
    """Names that the plugins in use add to a group."""
    found = [file.stem for folder in _folders for file in sorted((folder / group).glob("*.yaml"))]
    return [*found, *(n for n in of_plugins(group) if n not in found)] if group in PICKED else found


PICKED: dict[str, Callable[[], dict[str, type]]] = {
    "verifier": verifiers.known,
    "environment": environments.known,
}
"""Groups whose entries a plugin brings as classes -> all there are."""


def of_plugins(group: str) -> list[str]:
    """Names of the verifiers or environments of the plugins in use."""
    own = {id(value) for _, value in plugins.members()}
    return [name for name, cls in PICKED[group]().items() if id(cls) in own] if own else []


def _described(value: Any) -> str:
    if axis := vars(value).get("_axis"):
        return f"{axis} {value.name}"
    if vars(value).get("is_family"):
        return f"family {value.__name__}"
    if (name := environments.name_of(value)) is not None:
        return f"environment {name}"
    return f"verifier {value.name}" if verifiers.name_in_plugin(value) is not None else ""


def _installed_folders(found: Sequence[Plugin]) -> list[Path]:
    """Of installed packages, once they are imported."""
    modules = [sys.modules[plugin.module] for plugin in found if plugin.path is None]
    return [Path(folder) for module in modules for folder in getattr(module, "__path__", [])]


def _refuse_twice(found: Sequence[Plugin]) -> None:
    seen: dict[str, Plugin] = {}
    for plugin in found:
        if (other := seen.setdefault(plugin.module, plugin)) is not plugin:
            raise UserError(
                f"plugins: {other.path or other.shown} and {plugin.path or plugin.shown} are both "
                f"imported as '{plugin.module}'; rename one of them"
            )


def _refuse_taken(folders: Sequence[Path]) -> None:
    """A name that a plugin and the package, or two plugins, both have."""
    if next(plugins.members(), None) is not None:
        for axis in algorithms.PARTS:
            algorithms.options(axis)
        for group in PICKED:
            for name in of_plugins(group):
                if name in shipped_recipes.options(group):
                    raise UserError(f"plugins: {NAME} has the {group} entry '{name}' itself; rename yours")
    groups = shipped_recipes.groups()
    taken = {(group, name): NAME for group in groups for name in shipped_recipes.options(group)}
    for folder in folders:
        for group in groups:
            for file in sorted((folder / group).glob("*.yaml")):
                other = taken.setdefault((group, file.stem), str(file))
                if other != str(file):
                    raise UserError(
                        f"plugins: {other} and {file} both have the {group} '{file.stem}'; rename one of them"
                    )
