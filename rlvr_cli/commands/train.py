"""`rlvr train`, `rlvr sft` and a verb for each algorithm: train the model of a recipe."""

from __future__ import annotations

import argparse
from textwrap import fill

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.commands.start_recipe import add_dry_run, start
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.documentation import DOCS

TRAINING = """\
key=value sets one value (trainer.lr=1e-6), swaps a group entry (model=qwen2.5_7b, rollout=hf,
trainer=zero3), an option of the algorithm (algorithm/advantage=leave_one_out) or the whole
algorithm (algorithm=rloo), or adds an entry (+verifier@verifiers.format=format). ~key removes.
Text with special characters is quoted twice: 'model.path="/models/step=100"'.

The run directory is `out` (runs/NAME). Starting the same recipe again continues it.
"""


def _about(verb: str) -> str | None:
    """What the algorithm is, and the page that has more of it."""
    if verb not in shipped_recipes.all_presets():
        return None
    said = shipped_recipes.comment(shipped_recipes.CONF / "algorithm" / f"{verb}.yaml")
    page = DOCS / "algorithms" / f"{verb}.md"
    return f"{fill(said, 96)}\n\nEquation, settings, when to use it: {page}"


def add(parser: argparse.ArgumentParser) -> None:
    add_dry_run(parser)


def run(verb: str, arguments: list[str]) -> int:
    default, _ = shipped_recipes.default_recipe(verb)
    parser = parser_of(verb, TRAINING, f"[RECIPE] (default: {default}) [key=value ...]")
    parser.description = _about(verb)
    add(parser)
    options, recipe, overrides = parse(parser, arguments)
    from rlvr_cli import compose

    return start(compose.load(recipe, overrides, verb), options)
