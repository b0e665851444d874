"""`rlvr schema`: the JSON schema of recipes, for editors, with what plugins add."""

from __future__ import annotations

import argparse
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically

HELP = """\
Editors with a YAML language server complete and check a recipe that begins with
  # yaml-language-server: $schema=PATH
where PATH is docs/recipe.schema.json, or a file written here with the options and verifiers of plugins.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="whose plugins count too")
    parser.add_argument("--out", metavar="FILE", help="write it there instead of printing it")


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, HELP, "[RECIPE] [--out FILE]")
    add(parser)
    given = parser.parse_args(arguments)
    from rlvr_cli.commands.own_entries import own_entries
    from rlvr_cli.reference.json_schema import text

    own_entries(given.recipe)
    if given.out is None:
        print(text(), end="")
        return 0
    target = Path(given.out)
    if not target.parent.is_dir():
        raise UserError(f"--out: {target.parent} is not a directory")
    write_atomically(target, text())
    print(f"wrote {target}; a recipe's first line names it: # yaml-language-server: $schema={target}")
    return 0
