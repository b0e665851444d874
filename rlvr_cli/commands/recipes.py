"""`rlvr recipes`: list, show or copy the recipes that come with rlvr."""

from __future__ import annotations

import argparse
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.documentation import MODELINE, editor_line
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "show", "copy"), default="list")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("dest", nargs="?", metavar="DEST")


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, "", "list | show NAME | copy NAME [DEST]")
    add(parser)
    options = parser.parse_args(arguments)
    if options.action == "list":
        names = shipped_recipes.recipes()
        width = max(map(len, names)) + 2
        for name in names:
            print(f"{name:<{width}}{shipped_recipes.describe(shipped_recipes.RECIPES / f'{name}.yaml')}")
        return 0
    if options.name is None:
        parser.error(f"{options.action} needs the name of a recipe: {', '.join(shipped_recipes.recipes())}")
    source = shipped_recipes.named(options.name)
    if options.action == "show":
        print(source.read_text(), end="")
        return 0
    target = Path(options.dest or source.name)
    target = target / source.name if target.is_dir() else target
    if target.exists():
        raise UserError(f"{target} exists; give another name: rlvr recipes copy {source.stem} DEST")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a directory")
    kept = [line for line in source.read_text().splitlines(True) if not line.startswith(MODELINE)]
    write_atomically(target, f"{editor_line()}\n" + "".join(kept))
    print(f"wrote {target}; run it with: rlvr train {target}")
    return 0
