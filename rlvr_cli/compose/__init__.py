"""Recipe file + overrides -> typed recipe. The only package that imports hydra; imports no torch.

1. `user_code`: the plugins of the recipe are imported.
2. `files`: Hydra composes the recipe, what it inherits from, and the groups its `defaults` name.
3. `algorithm`: options changed on the way start from their own values.
4. `strict`: the result is merged into a schema built from the options and verifiers it names, the
   one place that refuses keys and types, so that `+key=value` and dumps are checked like all else.
5. `checks`: what no single field can tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rlvr_cli.compose import algorithm, files, user_code
from rlvr_cli.compose.checks import check
from rlvr_cli.compose.evaluation import load_eval as load_eval
from rlvr_cli.compose.holdout import add_held_out, routes
from rlvr_cli.compose.overrides import CommandLine, apply, parse
from rlvr_cli.compose.strict import Place, build
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.schema import EvalRecipe, ExperienceRecipe, ProfileRecipe, Recipe, SFTRecipe

AnyRecipe = Recipe | SFTRecipe | EvalRecipe
Tree = dict[str, Any]


def load(
    path_or_name: str | None, overrides: list[str], verb: str | None = None
) -> Recipe | SFTRecipe | ExperienceRecipe:
    """A recipe with an algorithm; without a path the default of the verb. `verb` must fit its algorithm."""
    if path_or_name is None:
        path_or_name, first = shipped_recipes.default_recipe(verb or "train")
        overrides = first + overrides
    recipe = shipped_recipes.find_recipe(path_or_name)
    command = parse(overrides)
    plugins, places = user_code.of_recipe(recipe, command)
    tree = _compose(recipe, command) | {"plugins": plugins}
    if "benches" in tree and "algorithm" not in tree:
        raise UserError(f"{path_or_name} is an evaluation recipe: run `rlvr eval {path_or_name}`")
    kind = algorithm.kind(tree, recipe.name)
    if verb not in (None, "train", kind):
        fitting = kind if kind in (*algorithm.WITHOUT_PRESET, *shipped_recipes.all_presets()) else "train"
        raise UserError(f"{path_or_name} is a recipe of {kind}: run `rlvr {fitting} {path_or_name}`")
    _take_the_only_verifier(tree)
    root = algorithm.root(tree)
    if root is not ExperienceRecipe:  # what it holds out is for rlvr eval
        add_held_out(tree, recipe.name, root is not Recipe)
    place = Place(recipe.name, command.keys(), places)
    typed = build(root, tree, place)
    check(typed, place)
    return typed


def read(path: Path) -> AnyRecipe:
    """A dump written by `save`, as the ranks read it: the user's code comes from the run's copies."""
    tree = files.load_yaml(path)
    root: type = ProfileRecipe if "file" in tree else EvalRecipe
    if "algorithm" in tree:
        root = algorithm.root(tree)
    return build(root, tree, Place(str(path), [], user_code.of_dump(path, tree)))


def save(recipe: AnyRecipe, path: Path) -> None:
    """Write the resolved recipe, which is itself a valid recipe."""
    write_atomically(path, dump(recipe))


def plain(recipe: AnyRecipe) -> dict[str, Any]:
    """The recipe as the tree that its file holds."""
    tree: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(dump(recipe)))  # type: ignore[assignment]
    return tree


def dump(recipe: AnyRecipe) -> str:
    tree = OmegaConf.to_container(OmegaConf.structured(recipe), resolve=False, enum_to_str=True)
    return OmegaConf.to_yaml(OmegaConf.create(escaped(tree)))


def escaped(node: Any) -> Any:
    """Values are final: a `${` in a prompt must not be read as an interpolation next time."""
    if isinstance(node, dict):
        return {key: escaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [escaped(value) for value in node]
    return node.replace("${", "\\${") if isinstance(node, str) else node


def _take_the_only_verifier(tree: Tree) -> None:
    """Where a source names none and there is one. An empty list is somebody's wish, and refused."""
    defined, sources = tree.get("verifiers"), tree.get("data")
    if not isinstance(defined, dict) or len(defined) != 1 or not isinstance(sources, dict):
        return
    for source in sources.values():
        if isinstance(source, dict) and not routes(source):
            source.setdefault("verifiers", list(defined))


def _compose(recipe: Path | None, command: CommandLine) -> Tree:
    tree = files.compose(recipe, command, presets=algorithm.for_hydra(recipe, command))
    if isinstance(tree.get("algorithm"), dict):
        tree["algorithm"] = algorithm.compose(recipe, command)
    return apply(command.values, tree)
