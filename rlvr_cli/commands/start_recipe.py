"""A typed recipe is started, or with --dry-run printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlvr_cli.compose import AnyRecipe


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="check and print what would run, write nothing"
    )


def start(recipe: AnyRecipe, dry_run: bool) -> int:
    """Run the recipe on its ranks; returns the exit code."""
    from rlvr_cli import compose
    from rlvr_cli.launch.start import launch
    from rlvr_cli.schema.derived import derive

    if not dry_run:
        return launch(recipe)
    print(compose.dump(recipe), end="")
    for what, number in derive(recipe).items():
        print(f"# {what}: {number}")
    return 0
