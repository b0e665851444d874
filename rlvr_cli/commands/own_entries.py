"""What a user has of their own, beside a recipe or in the present folder: entries of groups, and plugins."""

from __future__ import annotations

from pathlib import Path

from rlvr_cli.core import shipped_recipes


def own_entries(recipe: str | None) -> list[Path]:
    """Folders that hold entries of groups; the plugins of the recipe are in use afterwards.

    Without a recipe those of the present folder, as if one lay there.
    """
    from rlvr_cli.compose import find_plugins, user_code
    from rlvr_cli.compose.overrides import parse
    from rlvr_cli.compose.plugin_places import Places

    if recipe is None:
        path = Path.cwd() / "recipe.yaml"
        find_plugins.load([], path.name, Places([path.parent]), path)
    else:
        path = shipped_recipes.find_recipe(recipe)
        user_code.of_recipe(path, parse([]))
    return [path.parent, *find_plugins.folders()]
