"""What a recipe changes: against the defaults of every key, and against the preset of its algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from omegaconf import OmegaConf

from rlvr_cli.algorithms import AXES, DISTILLATION, PREFERENCE, options
from rlvr_cli.compose import AnyRecipe, algorithm, escaped
from rlvr_cli.compose.overrides import CommandLine
from rlvr_cli.core.defaults import default_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import (
    DistillationRecipe,
    Distilling,
    ExperienceRecipe,
    OTVRecipe,
    Preference,
    PreferenceRecipe,
    Recipe,
    RewardModelRecipe,
    SFTRecipe,
)

Tree = dict[str, Any]


def text_of(recipe: AnyRecipe) -> str:
    """The changes as YAML: a recipe that resolves to the same one."""
    tree = changes(recipe)
    if isinstance(recipe, PreferenceRecipe):
        if (known := preference_preset(recipe.algorithm.name)) is not None:
            tree = _of_part(PREFERENCE, recipe.algorithm, known, tree)
    elif isinstance(recipe, DistillationRecipe):
        if (given := distillation_preset(recipe.algorithm.name)) is not None:
            tree = _of_part(DISTILLATION, recipe.algorithm, given, tree)
    elif isinstance(recipe, SFTRecipe):
        kinds: dict[type, str] = {RewardModelRecipe: "reward_model", OTVRecipe: "otv"}
        kind = kinds.get(type(recipe), "sft")
        tree = {"defaults": [{"algorithm": kind}, "_self_"]} | tree
    elif isinstance(recipe, ExperienceRecipe):
        tree = {"defaults": [{"algorithm": "experience"}, "_self_"]} | tree
    if isinstance(recipe, Recipe) and (preset := _preset(recipe.algorithm.name)) is not None:
        section = tree.get("algorithm", {})
        chosen = {axis: section[axis]["name"] for axis in AXES if "name" in section.get(axis, {})}
        swaps: list[Tree] = [
            {f"override algorithm/{axis}": name}
            for axis, name in chosen.items()
            if name != preset[axis]["name"]
        ]
        for axis in chosen:
            del section[axis]["name"]
        left = {key: value for key, value in section.items() if value not in ({}, recipe.algorithm.name)}
        others = {key: value for key, value in tree.items() if key != "algorithm"}
        defaults = [{"algorithm": recipe.algorithm.name}, *swaps, "_self_"]
        tree = {"defaults": defaults, **others, **({"algorithm": left} if left else {})}
    return OmegaConf.to_yaml(OmegaConf.create(escaped(tree)))


def _of_part(part: str, section: Any, preset: Any, tree: Tree) -> Tree:
    """What a recipe whose algorithm has one part changes against its preset."""
    own, known = getattr(section, part), getattr(preset, part)
    swaps = [] if own.name == known.name else [{f"override algorithm/{part}": own.name}]
    usual = known if own.name == known.name else type(own)
    left: Tree = {part: below} if (below := _changes(own, usual)) else {}
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name not in ("name", part) and value != getattr(preset, field.name):
            left[field.name] = value
    others = {key: value for key, value in tree.items() if key != "algorithm"}
    defaults = [{"algorithm": section.name}, *swaps, "_self_"]
    return {"defaults": defaults, **others, **({"algorithm": left} if left else {})}


def preference_preset(name: str) -> Any:
    """A preset of preferences as the object it becomes; None where there is none of that name."""
    return _preset_of_part(PREFERENCE, Preference, name)


def distillation_preset(name: str) -> Any:
    """The same of distillation on data."""
    return _preset_of_part(DISTILLATION, Distilling, name)


def _preset_of_part(part: str, of: type, name: str) -> Any:
    try:
        tree = algorithm.compose(None, CommandLine(preset=name))
    except UserError:
        return None
    known, section = options(part), tree.get(part, {})
    if section.get("name") not in known:
        return None
    schema = OmegaConf.structured(of)
    schema[part] = OmegaConf.structured(known[section["name"]])
    return OmegaConf.to_object(OmegaConf.merge(schema, tree))


def changes(recipe: AnyRecipe) -> Tree:
    """Nested keys whose values are not the default; of the algorithm, not the preset's."""
    tree = _changes(recipe, type(recipe))
    if isinstance(recipe, Recipe):
        preset = _preset(recipe.algorithm.name) or {}
        section = {axis: _option(getattr(recipe.algorithm, axis), preset.get(axis, {})) for axis in AXES}
        tree["algorithm"] = {"name": recipe.algorithm.name} | {
            key: value for key, value in section.items() if value
        }
    return tree


def changed_keys(recipe: AnyRecipe) -> set[str]:
    """The same, dotted."""
    return set(_dotted(changes(recipe), ""))


def _dotted(node: Tree, prefix: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _changes(node: Any, like: Any) -> Tree:
    """Keys of a section that are not those of `like`: an object of its class, or the class with its
    defaults."""
    found: Tree = {}
    for field in fields(node):
        value = getattr(node, field.name)
        usual = default_of(field, required=None) if like is type(node) else getattr(like, field.name)
        if field.name == "algorithm" and not isinstance(node, SFTRecipe | ExperienceRecipe):
            continue
        if is_dataclass(value) and not isinstance(value, type):
            same = type(usual) is type(value)
            below = _changes(value, usual if same else type(value))
            if below or not same:
                found[field.name] = _named(value) | below
        elif isinstance(value, dict) and any(is_dataclass(each) for each in value.values()):
            found[field.name] = {
                key: _named(each) | _changes(each, type(each)) for key, each in value.items()
            }
        elif value != usual:
            found[field.name] = _plain(value)
    return found


def _named(value: Any) -> Tree:
    """The name that chooses a verifier, an environment or an option; it may be its default."""
    chosen = hasattr(value, "verify") or hasattr(value, "reset") or callable(value)
    return {"name": value.name} if chosen and hasattr(value, "name") else {}


def _option(option: Any, preset: Tree) -> Tree:
    """What an option changes against the preset, or, where the preset has another one, against itself."""
    if preset.get("name") != option.name:
        return {"name": option.name} | _changes(option, type(option))
    now = {field.name: _plain(getattr(option, field.name)) for field in fields(option)}
    changed = {key: value for key, value in now.items() if key in preset and value != preset[key]}
    return {"name": option.name} | changed if changed else {}


def _preset(name: str) -> Tree | None:
    """Every key of a preset by axis; None where it is not one that comes with the package or a plugin."""
    try:
        written = algorithm.compose(None, CommandLine(preset=name))
    except UserError:
        return None
    found: Tree = {}
    for axis in AXES:
        section = written.get(axis, {})
        if section.get("name") not in options(axis):
            return None
        schema = OmegaConf.structured(options(axis)[section["name"]])
        found[axis] = OmegaConf.to_container(OmegaConf.merge(schema, section), enum_to_str=True)
    return found


def _plain(value: Any) -> Any:
    """As YAML has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.name if isinstance(value, Enum) else value
