"""A typed recipe is started, or with --dry-run looked at and printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlvr_cli.compose import AnyRecipe


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="look at model and data, print what would run and what was found, write nothing",
    )
    parser.add_argument(
        "--full", action="store_true", help="with --dry-run: every key, not only what differs"
    )


def start(recipe: AnyRecipe, options: argparse.Namespace) -> int:
    """Run the recipe on its ranks; returns the exit code."""
    from rlvr_cli.core.errors import UserError
    from rlvr_cli.launch.start import launch

    if options.dry_run:
        return show(recipe, options.full)
    if options.full:
        raise UserError("--full belongs to --dry-run: it prints every key of the recipe")
    return launch(recipe)


def show(recipe: AnyRecipe, full: bool) -> int:
    """Print the recipe, the numbers that follow from it and what its model and data look like.

    UserError for what a start would refuse, once all that could be said is printed.
    """
    from rlvr_cli import compose
    from rlvr_cli.compose import find_plugins
    from rlvr_cli.core.model_paths import NotMadeYet
    from rlvr_cli.dry_run import changes
    from rlvr_cli.dry_run.look import look
    from rlvr_cli.launch.start import resolve
    from rlvr_cli.schema.derived import derive

    if full:
        print(compose.dump(recipe), end="")
    else:
        print("# what differs from the defaults and the preset; --full prints every key")
        print(changes.text_of(recipe), end="")
    if said := find_plugins.told():
        print(f"# {said}")
    for what, number in derive(recipe).items():
        print(f"# {what}: {number}")
    try:
        found = look(resolve(recipe)[0])
    except NotMadeYet as error:
        print(f"# {error}")
        return 0
    for key, lines in found.lines.items():
        for line in lines:
            print(f"# {key}: {line}")
    for line in found.warnings:
        print(f"# warning: {line}")
    return 0
