"""Which values an algorithm's options get when preset, recipe and command line disagree on them.

Values belong to the option they were written for: where the command line or an inheriting recipe
chooses another option, those of its predecessor are left behind. Hydra alone would merge:
`algorithm/loss=clipped_weight` on a DAPO recipe would silently keep DAPO's clip range, which means
something else there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rlvr_cli import algorithms
from rlvr_cli.algorithms import AXES, DISTILLATION, PARTS, PREFERENCE
from rlvr_cli.compose import files, find_plugins, presets
from rlvr_cli.compose.overrides import CommandLine
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import (
    DistillationRecipe,
    ExperienceRecipe,
    OTVRecipe,
    PreferenceRecipe,
    Recipe,
    RewardModelRecipe,
    SFTRecipe,
)

WITHOUT_PRESET: dict[str, type[SFTRecipe] | type[ExperienceRecipe]] = {
    "sft": SFTRecipe,
    "reward_model": RewardModelRecipe,
    "otv": OTVRecipe,
    "experience": ExperienceRecipe,
}
"""Kinds of recipes that have no parts to choose -> their schema."""
PARTS_OF: dict[type, tuple[str, ...]] = {
    Recipe: AXES,
    PreferenceRecipe: (PREFERENCE,),
    DistillationRecipe: (DISTILLATION,),
}
"""Root of a recipe -> the parts of its algorithm."""

Tree = dict[str, Any]
Layer = tuple[Tree, dict[str, str]]
"""Values as written in one file, and the option of each axis they were written for."""


def kind(tree: Tree, file: str) -> str:
    """`sft` or the name of the preset."""
    section = tree.get("algorithm")
    if not isinstance(section, dict) or not section.get("name"):
        raise UserError(f"{file}: no algorithm is named; add e.g. `- algorithm: dapo` to its defaults list")
    return str(section["name"])


def root(tree: Tree) -> type[Recipe] | type[SFTRecipe] | type[ExperienceRecipe]:
    """The schema of a recipe whose algorithm is named."""
    section = tree["algorithm"]
    if section["name"] in WITHOUT_PRESET:
        return WITHOUT_PRESET[section["name"]]
    parts = set(section) & set(PARTS)
    if parts == {DISTILLATION}:
        return DistillationRecipe
    return PreferenceRecipe if PREFERENCE in parts else Recipe


def compose(recipe: Path | None, command: CommandLine) -> Tree:
    """The algorithm section."""
    stack = _Stack()
    for path, body in files.chain(recipe):
        preset = files.groups_of(body).get("algorithm")
        if preset is not None:
            stack.choose(_bodies(path, preset, path.name))
        elif (body.get("algorithm") or {}).get("name") in WITHOUT_PRESET:
            stack.of_parts = False
        stack.recipes.append(stack.layer(body.get("algorithm", {}), files.groups_of(body)))
    if command.preset:
        stack.choose(_bodies(recipe, command.preset))
    _refuse_critic(stack, command)
    section = stack.section(stack.options | command.options)
    return section | ({"name": command.preset} if command.preset else {})


def for_hydra(recipe: Path | None, command: CommandLine) -> dict[str, Tree]:
    """What stands for the presets that build on another one."""
    named = [(path, files.groups_of(body).get("algorithm"), path.name) for path, body in files.chain(recipe)]
    found = {}
    for path, name, where in [*named, (recipe, command.preset, "command line")]:
        if name is not None and "${" not in name and len(layers := _bodies(path, name, where)) > 1:
            found[name.removesuffix(".yaml")] = presets.flat(layers)
    return found


def _refuse_critic(stack: _Stack, command: CommandLine) -> None:
    """No critic for a preset without: a second model would train under the name of a method that has none."""
    known: dict[str, Any] = algorithms.options("advantage")
    wanted, own = (stack.options | command.options).get("advantage"), stack.own.get("advantage")
    if wanted in known and own in known and known[wanted].needs_critic and not known[own].needs_critic:
        where = "command line" if "advantage" in command.options else "algorithm"
        raise UserError(
            f"{where}: algorithm/advantage={wanted} needs a critic, and this preset trains none (its "
            f"advantage is {own}); choose algorithm=ppo, whose other parts can be changed"
        )


class _Stack:
    """Files in the order in which they speak: one preset at a time, then the recipes."""

    def __init__(self) -> None:
        self.preset: list[Layer] = []
        self.recipes: list[Layer] = []
        self.options: dict[str, str] = {}
        """Axis -> option, after the files so far."""
        self.own: dict[str, str] = {}
        """Of these, the preset's."""
        self.of_parts = True
        """False: a key may have the name of an axis and be something else (`loss: bce` of otv)."""

    def choose(self, bodies: list[Tree]) -> None:
        """Begin anew with a preset (and those it inherits from); recipes keep what fits its options."""
        self.options, self.preset = {}, []
        self.of_parts = bodies[-1].get("name") not in WITHOUT_PRESET
        for body in bodies:
            values = {key: value for key, value in body.items() if key != "defaults"}
            self.preset.append(self.layer(values, files.groups_of(body)))
        self.own = dict(self.options)

    def layer(self, values: Tree, groups: dict[str, str]) -> Layer:
        """Take in the options a file chooses, in its defaults list or by name."""
        chosen = {group.removeprefix("algorithm/"): option for group, option in groups.items()}
        for axis in PARTS if self.of_parts else ():
            section = values.get(axis) or {}
            if not isinstance(section, dict):
                entry = f"`- override algorithm/{axis}: {section}`"
                raise UserError(f"algorithm.{axis}: an option is named in the defaults list: {entry}")
            option = section.get("name") or chosen.get(axis)
            if option is not None:
                self.options[axis] = str(option)
        return values, dict(self.options)

    def section(self, options: dict[str, str]) -> Tree:
        """All values written for these options; of two the later."""
        merged: Any = OmegaConf.create({axis: {"name": options[axis]} for axis in PARTS if axis in options})
        for values, written_for in self.preset + self.recipes:
            fitting = {k: v for k, v in values.items() if written_for.get(k) in (None, options.get(k))}
            merged = OmegaConf.merge(merged, fitting)
        return OmegaConf.to_container(merged)  # type: ignore[return-value]


def _bodies(recipe: Path | None, name: str, where: str = "command line") -> list[Tree]:
    """The files of a preset and of those it builds on."""
    if name in WITHOUT_PRESET:
        return [{"name": name}]
    return presets.bodies(name, presets.folders_of(recipe, find_plugins.folders()), where)
