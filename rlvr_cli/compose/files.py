"""Hydra: a recipe, the recipes it inherits from, and the groups they name, as one plain tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rlvr_cli import algorithms
from rlvr_cli.compose import find_plugins
from rlvr_cli.compose.overrides import CommandLine
from rlvr_cli.compose.slips import explain, model_path
from rlvr_cli.core import plugins, shipped_recipes
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.flatten import deeper
from rlvr_cli.core.yaml_bounds import MAX_LEVELS, check_yaml

Tree = dict[str, Any]


def compose(
    recipe: Path | None,
    command: CommandLine,
    search: Sequence[Path] = (),
    presets: Mapping[str, Tree] | None = None,
) -> Tree:
    """The files of a recipe with the groups chosen on the command line; nothing is checked yet.

    `search`: folders of groups that come before those of plugins and those of the package.
    `presets`: what stands for presets that Hydra cannot read.
    """
    named = {group for _, body in chain(recipe) for group in groups_of(body)}
    swaps = [text for text in command.groups if text[0] not in "+~"]
    if recipe and not named and (command.preset or swaps):
        choice = f"algorithm={command.preset}" if command.preset else swaps[0]
        raise UserError(
            f"{choice}: {recipe.name} names no groups (it is resolved), so none can be swapped; "
            f"set single keys such as model.path=..., or start from the recipe it was made of"
        )
    # A group the recipe does not name is added, and then wins over values in the recipe's body.
    added = [
        f"+{text}" if text in swaps and text.split("=")[0] not in named else text for text in command.groups
    ]
    search = [*search, *find_plugins.folders()]
    _check_entries(recipe, command.groups, [*search, *([recipe.parent] if recipe else [])])
    if _only_texts(recipe, added) and not (search or presets or plugins.active()):
        texts = tuple(path.read_text(encoding="utf-8") for path, _ in chain(recipe))
        tree = deepcopy(_composed(recipe, texts, tuple(added)))
    else:
        tree = _run_hydra(recipe, added, search, presets or {})
    for group in set(tree) & set(shipped_recipes.groups()):
        if not isinstance(tree[group], dict):
            raise UserError(f"{recipe.name if recipe else 'eval'}: {_no_section(group, tree[group])}")
    if "plugins" in tree and not any("plugins" in body for _, body in chain(recipe)):
        raise UserError("plugins: an entry of a group sets them; they belong into the recipe itself")
    return tree


def _no_section(group: str, value: Any) -> str:
    if value is None:
        return f"{group} is empty; are the lines below it indented?"
    entry = f"an entry of the group is named in the defaults list: `- {group}: {value}`"
    return f"{group}: {value} is no section of keys; {entry}{model_path(group, value)}"


def _store(recipe: Path | None, folders: Sequence[Path]) -> None:
    """The groups and the config that are no files."""
    store = ConfigStore.instance()
    for group in ("algorithm", *find_plugins.PICKED):  # of an earlier recipe with other plugins
        store.repo.pop(group, None)
    for kind in shipped_recipes.WITHOUT_PRESET:
        store.store(group="algorithm", name=kind, node={"name": kind})
    for axis in algorithms.PARTS:
        for name in algorithms.options(axis):
            store.store(group=f"algorithm/{axis}", name=name, node={"name": name})
    for group in find_plugins.PICKED:
        for name in find_plugins.of_plugins(group):
            if any((folder / group / f"{name}.yaml").is_file() for folder in folders):
                continue  # Hydra would take the node for the schema of the file
            store.store(group=group, name=name, node={"name": name})
    # Overrides of groups need a primary config; this one stands for a file beside the recipe.
    defaults = [_as_config(recipe)] if recipe else []
    store.store(name="_main_", node={"defaults": [*defaults, "_self_"]})


def _only_texts(recipe: Path | None, overrides: list[str]) -> bool:
    """Whether Hydra reads nothing but the recipe's chain and the package: no entry of a group beside it."""
    named = [*(group for _, body in chain(recipe) for group in groups_of(body)), *overrides]
    tops = {*shipped_recipes.groups(), *(re.split("[/@=]", text.lstrip("+~"))[0] for text in named)}
    folders = {path.parent.resolve() for path, _ in chain(recipe)} - {shipped_recipes.RECIPES.resolve()}
    return folders <= ({recipe.parent} if recipe else set()) and not any(
        (folder / top).exists() for folder in folders for top in tops
    )


@lru_cache(maxsize=64)
def _composed(recipe: Path | None, texts: tuple[str, ...], overrides: tuple[str, ...]) -> Tree:
    """A recipe whose chain holds these texts, with these groups: Hydra reads some thirty files."""
    return _run_hydra(recipe, list(overrides), [], {})


def _run_hydra(
    recipe: Path | None, overrides: list[str], first: Sequence[Path], presets: Mapping[str, Tree]
) -> Tree:
    folder = recipe.parent if recipe else shipped_recipes.RECIPES.resolve()
    _store(recipe, [folder, *first])
    try:
        with ExitStack() as stack:
            made = stack.enter_context(TemporaryDirectory())
            for name, body in presets.items():
                write_atomically(Path(made, "algorithm", f"{name}.yaml"), OmegaConf.to_yaml(body))
            files = [folder, *first] if presets else first  # what is made comes first, even before the folder
            places = [
                *(f"file://{place}" for place in [*files, shipped_recipes.RECIPES]),
                "pkg://rlvr_cli.conf",
            ]
            search = f"hydra.searchpath=[{','.join(json.dumps(place) for place in places)}]"
            stack.enter_context(initialize_config_dir(made if presets else str(folder), version_base="1.3"))
            return OmegaConf.to_container(hydra_compose("_main_", [search, *overrides]))  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        message = explain(error)
        absent = re.findall(r"there is no \S+ '([^']+)'", message)
        ours = any(text.endswith(f"={entry}") for entry in absent for text in overrides)
        raise UserError(f"{recipe.name if recipe and not ours else 'command line'}: {message}") from error


def chain(recipe: Path | None, heirs: tuple[Path, ...] = ()) -> Iterator[tuple[Path, Tree]]:
    """A recipe and those it inherits from, as they are written, ancestors first. `heirs` inherit from it."""
    if recipe is None:
        return
    body = load_yaml(recipe)
    defaults = body.get("defaults", [])
    if not isinstance(defaults, list):
        raise UserError(f"{recipe.name}: defaults must be a list, one `- group: entry` a line")
    if "hydra" in body:
        raise UserError(
            f"{recipe.name}: unknown key 'hydra': settings of Hydra itself have no place in a recipe"
        )
    for entry in defaults:
        _check_entry(recipe, entry)
        if isinstance(entry, str) and entry != "_self_":
            places = [
                folder / f"{entry.removesuffix('.yaml')}.yaml"
                for folder in (recipe.parent, shipped_recipes.RECIPES)
            ]
            parent = next((place for place in places if place.is_file()), None)
            if parent is None:
                raise UserError(
                    f"{recipe.name}: defaults: no recipe '{entry}'{hint(entry, shipped_recipes.recipes())}"
                )
            if any(parent.samefile(heir) for heir in (*heirs, recipe)):
                raise UserError(f"{recipe.name}: defaults: it inherits from itself, by '{entry}'")
            yield from chain(parent, (*heirs, recipe))
    yield recipe, body


def _check_entry(recipe: Path, entry: Any) -> None:
    """What Hydra would take without a word (`optional`) or refuse without naming the file."""
    group, choice = next(iter(entry.items()), ("", None)) if isinstance(entry, dict) else ("", entry)
    if (isinstance(entry, dict) and len(entry) != 1) or not isinstance(choice, str) or not choice:
        raise UserError(
            f"{recipe.name}: defaults: '{entry}' is no entry of the list; write `- group: entry`, one a line"
        )
    if str(group).startswith("optional "):
        raise UserError(
            f"{recipe.name}: defaults: '{group}' may be missing without notice; write it without `optional`"
        )


def _check_entries(recipe: Path | None, overrides: list[str], folders: Sequence[Path]) -> None:
    """Read the user's own entries of groups as `load_yaml` does, before Hydra reads them without a bound."""
    named = [(group, entry) for _, body in chain(recipe) for group, entry in groups_of(body).items()]
    named += [(group, entry) for group, _, entry in (text.lstrip("+").partition("=") for text in overrides)]
    seen: set[Path] = set()
    while named:
        group, entry = named.pop()
        group = group.partition("@")[0]
        files = [folder / group / f"{entry.removesuffix('.yaml')}.yaml" for folder in folders]
        for file in (file for file in files if file not in seen and file.is_file()):
            seen.add(file)
            for inner in load_yaml(file).get("defaults") or []:
                pairs = inner.items() if isinstance(inner, dict) else [("", inner)]
                for key, choice in ((str(key), choice) for key, choice in pairs if isinstance(choice, str)):
                    key = key.removeprefix("override ").strip()
                    named += [(key.lstrip("/"), choice), (f"{group}/{key}".rstrip("/"), choice)]


def groups_of(body: Tree) -> dict[str, str]:
    """Group (with its @package) -> entry, of one defaults list."""
    groups = {}
    for entry in body.get("defaults", []):
        if isinstance(entry, dict):
            [(group, choice)] = entry.items()
            groups[str(group).removeprefix("override ").strip().lstrip("/")] = choice
    return groups


def load_yaml(path: Path) -> Tree:
    """A file of keys and values; UserError, with the line, where it is none."""
    try:
        tree = deepcopy(_parsed(path, path.read_text(encoding="utf-8")))
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(f"{path.name}: {explain(error)}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'a recipe is a list of `key: value`'}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path.name}: a recipe is a list of `key: value`, this file holds something else")
    return tree


@lru_cache(maxsize=64)
def _parsed(path: Path, text: str) -> Any:
    """What `path` holds, whose text this is: composing asks for the same files several times."""
    check_yaml(text)
    tree = OmegaConf.to_container(OmegaConf.load(path))
    if deeper(tree, MAX_LEVELS):  # an alias within what another one stands for
        raise RecursionError
    return tree


def _as_config(recipe: Path) -> str:
    if re.search(r"[@:$=]", recipe.stem):
        raise UserError(f"{recipe.name}: a recipe's file name cannot hold any of @ : $ =")
    return recipe.stem
