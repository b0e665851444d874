"""`rlvr filter`: the problems of a recipe that its environments say are worth training on."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError

FILTER = """\
Asks the environment of each source which problems it keeps, and writes those. s3 leaves out what plain
retrieval answers already, and yes and no; what it finds out is kept and not computed again.

examples:
  rlvr filter s3_qwen7b -o kept
  rlvr train s3_qwen7b data.nq.path=kept/nq.jsonl data.nq.config=null 'data.nq.columns={}'
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, FILTER, "RECIPE -o FOLDER [key=value ...]")
    add(parser)
    options, path, overrides = parse(parser, arguments)
    from rlvr_cli import compose
    from rlvr_cli.compose import find_plugins
    from rlvr_cli.schema import Recipe

    recipe = compose.load(path, overrides)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{path} is a recipe of sft, which plays no environment")
    find_plugins.tell()
    for line in import_module("rlvr_cli.evaluation.filter").filter_problems(recipe, options.out):
        print(line, flush=True)
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", metavar="FOLDER", type=Path, required=True, help="where they go")
