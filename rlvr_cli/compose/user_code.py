"""The user's own code of a recipe: its plugins, and where the paths of verifiers' code are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr_cli.compose import files, find_plugins
from rlvr_cli.compose.overrides import CommandLine
from rlvr_cli.compose.plugin_places import Places
from rlvr_cli.core import recorded_code

Tree = dict[str, Any]


def of_recipe(
    recipe: Path | None,
    command: CommandLine,
    beside: Sequence[Path] = (),
    run: Path | None = None,
    named: list[str] | None = None,
) -> tuple[list[str], Places]:
    """Have the plugins of a recipe in use; their names as the typed recipe has them, and the places.

    `plugins` of the command line stands in the place of the recipe's, an heir's in that of its ancestors'.
    `beside`: more folders where paths of code are looked for. `run`: where parts of the recipe come from and
    copies of their code are. `named`: plugins where nobody names any.
    """
    copies = recorded_code.copies(run) if run is not None else {}
    wanted: Any = named
    where = "command line"
    folders: list[Path] = []
    for path, body in files.chain(recipe):
        folders.insert(0, path.parent)
        if "plugins" in body:
            wanted, where = body["plugins"], path.name
    for override in command.values:
        if override.key_or_group == "plugins":
            wanted, where = [] if override.is_delete() else override.value(), "command line"
    folders = list(dict.fromkeys([*folders, *beside, Path.cwd()]))
    copies |= recorded_code.copies(recipe.parent) if recipe is not None else {}
    names = find_plugins.load([] if wanted is None else wanted, where, Places(folders, copies), recipe)
    return names, Places([*folders, *find_plugins.folders()], copies)


def of_dump(path: Path, tree: Tree) -> Places:
    """As the run of this `recipe.yaml` was started with: from its copies, where it has some."""
    places = Places([Path.cwd()], recorded_code.copies(path.parent), only_copies=True)
    find_plugins.load(tree.get("plugins") or [], str(path), places)
    return places
