"""`rlvr experience`: learn texts that make a model better, without training it."""

from __future__ import annotations

import argparse
import shutil
import sys
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.commands.start_recipe import add_dry_run, start
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError

EXPERIENCE = """\
The model samples several rollouts of each problem, an editor (the same model, or another one on a server)
compares the right with the wrong ones in words, and short lessons are added to a library that the model
reads before the next problems (training-free GRPO). No weights change. Each answer is written down before it
is used: a run that was stopped or killed, or has used its budget up, goes on with the same command and
repeats no call.

examples:
  rlvr experience
  rlvr experience my.yaml algorithm.form=update algorithm.steps=2
  rlvr experience my.yaml server.url=http://localhost:8000/v1 server.api=chat server.model=my-model
  rlvr experience my.yaml algorithm.call_budget=500
  rlvr experience --copy-prompts my_prompts
  rlvr eval --model my-model --bench aime25 --experiences runs/my/experiences.json
"""


def run(verb: str, arguments: list[str]) -> int:
    default, _ = shipped_recipes.default_recipe(verb)
    parser = parser_of(verb, EXPERIENCE, f"[RECIPE] (default: {default}) [key=value ...]")
    add(parser)
    options, recipe, overrides = parse(parser, arguments)
    if options.copy_prompts is not None:
        return copy_prompts(Path(options.copy_prompts).expanduser())
    from rlvr_cli import compose

    return start(compose.load(recipe, overrides, verb), options)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--copy-prompts",
        metavar="PATH",
        help="write the prompts into a folder and end; algorithm.prompts takes it",
    )
    add_dry_run(parser)


def copy_prompts(folder: Path) -> int:
    """All prompts as files to change; none that is there already is written over."""
    files = sorted(import_module("rlvr_cli.experience.wordings").HERE.glob("*.txt"))
    if there := [path.name for path in files if (folder / path.name).exists()]:
        raise UserError(f"--copy-prompts: {folder} has {there[0]} already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copyfile(path, folder / path.name)
    except OSError as error:
        raise UserError(f"--copy-prompts: {folder} cannot be written: {error.strerror}") from None
    print(f"rlvr: {len(files)} prompts in {folder}; algorithm.prompts={folder} uses them", file=sys.stderr)
    return 0
