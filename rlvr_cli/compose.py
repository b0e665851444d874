"""Recipe file + overrides -> typed recipe. The only file that imports hydra; imports no torch.

Two steps, so that there is one place that refuses wrong keys and types:
1. Hydra composes the files: the recipe, what it inherits from, and the groups its `defaults` name.
2. The result and the command line's values are merged into a fresh strict schema built from the
   options and verifiers they name. `+key=value` and a resolved dump pass through the same check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rlvr_cli import algorithms, shipped
from rlvr_cli.checks import check
from rlvr_cli.errors import UserError, hint
from rlvr_cli.files import write_atomically
from rlvr_cli.schema import EvalRecipe, Recipe, SFTRecipe
from rlvr_cli.strict import build

AnyRecipe = Recipe | SFTRecipe | EvalRecipe
Tree = dict[str, Any]


@dataclass
class CommandLine:
    """Overrides, sorted by what they do."""

    preset: str | None = None
    """`algorithm=rloo`"""
    options: dict[str, str] = field(default_factory=dict)
    """`algorithm/advantage=leave_one_out`"""
    groups: list[str] = field(default_factory=list)
    """`model=tiny`, `+verifier@verifiers.format=format`: for Hydra, as written."""
    values: list[Override] = field(default_factory=list)


def load(path_or_name: str | None, overrides: list[str], verb: str | None = None) -> Recipe | SFTRecipe:
    """A training recipe; without a path the default of the verb. `verb` must fit its algorithm."""
    if path_or_name is None:
        path_or_name, first = shipped.default_recipe(verb or "train")
        overrides = first + overrides
    recipe = shipped.find_recipe(path_or_name)
    command = _sort(overrides)
    tree = _compose(recipe, command)
    algorithm = tree.get("algorithm")
    if not isinstance(algorithm, dict) or "name" not in algorithm:
        raise UserError(f"{recipe.name} names no algorithm; add `- algorithm: dapo` to its defaults list")
    kind = algorithm["name"]
    if verb not in (None, "train", kind):
        raise UserError(f"{path_or_name} is a {kind} recipe: run `rlvr {kind} {path_or_name}`")
    typed = build(SFTRecipe if kind == "sft" else Recipe, tree, recipe.name, _keys(command))
    check(typed, recipe.name)
    return typed


def load_eval(
    path_or_name: str | None,
    overrides: list[str],
    *,
    benches: list[str] | None = None,
    model: str | None = None,
    k: int | None = None,
    data: str | None = None,
) -> EvalRecipe:
    """An evaluation: a recipe file or nothing, benches of conf/bench, and what replaces their settings."""
    for bench in benches or []:
        if bench not in shipped.options("bench"):
            raise UserError(f"--bench: there is no bench '{bench}'{hint(bench, shipped.options('bench'))}")
    added = [f"+bench@benches.{bench}={bench}" for bench in benches or []]
    command = _sort([*added, *overrides])
    recipe = shipped.find_recipe(path_or_name) if path_or_name else None
    tree = _compose(recipe, command)
    if "algorithm" in tree:
        name = tree["algorithm"].get("name", "training")
        raise UserError(f"{path_or_name} is a {name} recipe; evaluate its run with --model and --bench")
    if model is not None:
        tree.setdefault("model", {})["path"] = model
    for bench in tree.get("benches", {}).values():
        bench |= {} if k is None else {"k": k}
        if data is not None:  # a file has its own layout, and neither configuration nor splits
            bench["source"] = {key: bench["source"][key] for key in ("prompt", "system", "chat") if key in bench["source"]}
            bench["source"]["path"] = data
    name = recipe.name if recipe else "command line"
    typed = build(EvalRecipe, tree, name, _keys(command))
    check(typed, name)
    return typed


def read(path: Path) -> AnyRecipe:
    """A dump written by `save`."""
    tree = _load_yaml(path)
    if "benches" in tree:
        return build(EvalRecipe, tree, str(path), [])
    return build(SFTRecipe if tree["algorithm"]["name"] == "sft" else Recipe, tree, str(path), [])


def save(recipe: AnyRecipe, path: Path) -> None:
    """Write the resolved recipe, which is itself a valid recipe."""
    write_atomically(path, dump(recipe))


def dump(recipe: AnyRecipe) -> str:
    tree = OmegaConf.to_container(OmegaConf.structured(recipe), resolve=False, enum_to_str=True)
    return OmegaConf.to_yaml(OmegaConf.create(_escape(tree)))


def _escape(node: Any) -> Any:
    """Values are final: a `${` in a prompt must not be read as an interpolation next time."""
    if isinstance(node, dict):
        return {key: _escape(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escape(value) for value in node]
    return node.replace("${", "\\${") if isinstance(node, str) else node


def _keys(command: CommandLine) -> list[str]:
    return [override.key_or_group for override in command.values]


def _sort(overrides: list[str]) -> CommandLine:
    command = CommandLine()
    for text in overrides:
        override = _parse(text)
        key = override.key_or_group
        group = key.split("/")[0]
        axis = re.fullmatch(r"algorithm(?:/(\w+)|\.(\w+)\.name)", key)
        if axis and not override.is_delete():
            name = axis[1] or axis[2]
            if name not in algorithms.AXES:
                raise UserError(f"{text}: algorithms have no part '{name}'{hint(name, algorithms.AXES)}")
            command.options[name] = str(override.value())
        elif key == "algorithm" and not override.is_delete():
            command.preset = str(override.value())
        elif group in shipped.groups() and (override.package or "/" in key or _names_entry(override)):
            command.groups.append(text)
        else:
            command.values.append(override)
    return command


def _names_entry(override: Override) -> bool:
    return override.is_delete() or isinstance(override.value(), str)


def _parse(text: str) -> Override:
    if "=" not in text and not text.startswith("~"):
        raise UserError(f"{text}: expected key=value, e.g. trainer.lr=1e-6")
    try:
        [override] = OverridesParser.create().parse_overrides([text])
    except HydraException:
        key, _, value = text.partition("=")
        quoted = f"'{key}=\"{value}\"'"
        raise UserError(f"{text}: the value cannot be read; if it is text, quote it twice: {quoted}") from None
    if override.is_sweep_override():
        raise UserError(f"{text}: one value per run; write a list as [a,b] and text holding a comma in quotes")
    return override


def _compose(recipe: Path | None, command: CommandLine) -> Tree:
    """Files, then groups and options chosen on the command line, then its values; not yet checked."""
    bodies = _bodies(recipe) if recipe else []
    named = [_group(entry) for body in bodies for entry in body.get("defaults", []) if isinstance(entry, dict)]
    if recipe and not named and (command.preset or any(not text.startswith(("+", "~")) for text in command.groups)):
        raise UserError(
            f"{recipe.name} has no defaults list (a resolved dump?), so groups cannot be swapped: "
            f"set single keys such as model.path=..., or start from the recipe it was made of"
        )
    defaults: list[Any] = [recipe.stem] if recipe else []
    # A group the recipe does not name is added, and then wins over what the recipe says in its body.
    groups = [text if text[0] in "+~" or text.split("=")[0] in dict(named) else f"+{text}" for text in command.groups]
    tree = _hydra(recipe, defaults, groups)
    for group in shipped.groups():
        if isinstance(tree.get(group), str):
            raise UserError(f"{group}: {tree[group]} belongs in the defaults list, as `- {group}: {tree[group]}`")
    if isinstance(tree.get("algorithm"), dict):
        preset = command.preset or dict(named).get("algorithm")
        chosen = _hydra(recipe, [{"algorithm": preset}], [])["algorithm"] if preset else {}
        written = OmegaConf.to_container(OmegaConf.merge(*(body.get("algorithm", {}) for body in bodies)))
        current = chosen if command.preset else tree["algorithm"]
        names = {axis: (current.get(axis) or {}).get("name") for axis in algorithms.AXES} | command.options
        tree["algorithm"] = _algorithm(names, chosen, written, tree["algorithm"])
    return _apply(tree, command.values)


def _algorithm(names: dict[str, str | None], preset: Tree, written: Any, composed: Tree) -> Tree:
    """Values belong to the option they were made for: an axis whose option changes starts afresh.

    Without this `algorithm/loss=cispo` on a DAPO recipe would keep DAPO's clip range.
    """
    section = {key: value for key, value in {**written, **preset}.items() if key not in algorithms.AXES}
    for axis, name in names.items():
        if name is None:
            continue
        section[axis] = {"name": name}
        if (preset.get(axis) or {}).get("name") == name:
            section[axis] |= preset[axis]
        if (composed.get(axis) or {}).get("name") == name:
            section[axis] |= written.get(axis) or {}
    return section


def _apply(tree: Tree, values: list[Override]) -> Tree:
    config = OmegaConf.create(tree)
    for override in values:
        key = override.key_or_group
        if override.is_delete():
            parent, _, last = key.rpartition(".")
            section = OmegaConf.select(config, parent) if parent else config
            if not isinstance(section, DictConfig) or last not in section:
                raise UserError(f"~{key}: there is no such key to remove{hint(last, map(str, section or []))}")
            del section[last]
        else:
            try:
                OmegaConf.update(config, key, override.value(), merge=True, force_add=True)
            except OmegaConfBaseException as error:
                raise UserError(f"command line: {key}: {error.msg or error}".splitlines()[0]) from None
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def _hydra(recipe: Path | None, defaults: list[Any], groups: list[str]) -> Tree:
    store = ConfigStore.instance()
    store.store(group="algorithm", name="sft", node={"name": "sft"})
    for axis in algorithms.AXES:
        for name in algorithms.options(axis):
            store.store(group=f"algorithm/{axis}", name=name, node={"name": name})
    store.store(name="_main_", node={"defaults": [*defaults, "_self_"]})
    folder = recipe.parent if recipe else shipped.RECIPES.resolve()
    search = f"hydra.searchpath=[file://{shipped.RECIPES},pkg://rlvr_cli.conf]"
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return OmegaConf.to_container(hydra_compose("_main_", [search, *groups]))  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{recipe.name if recipe else 'command line'}: {_explain(error)}") from error
