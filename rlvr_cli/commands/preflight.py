"""`rlvr preflight`: can a recipe learn from its start model? Nothing is trained."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.external_ranks import joined_ranks

if TYPE_CHECKING:
    from rlvr_cli.schema import Recipe

PREFLIGHT = """\
Loads what a run would load, samples some prompts from the start model and verifies the responses. Nothing
is trained and nothing is left in the recipe's `out`. Exit code 0: the recipe can learn; 2: it cannot, and the
line on stderr says which key to change.

examples:
  rlvr preflight my.yaml
  rlvr preflight my.yaml preflight.prompts=64 rollout.max_tokens=4096
  rlvr preflight my.yaml --json | jq .verifiers
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, PREFLIGHT, "[RECIPE] [--json] [key=value ...]")
    add(parser)
    return preflight(*parse(parser, arguments))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON, nothing else")


def preflight(options: argparse.Namespace, path: str | None, overrides: list[str]) -> int:
    """Run the preflight of a recipe in a temporary directory."""
    from rlvr_cli import compose
    from rlvr_cli.schema import Recipe

    recipe = compose.load(path, overrides)
    if not isinstance(recipe, Recipe):
        raise UserError(
            f"{path} is a recipe of {recipe.algorithm.name}; preflight takes one of reinforcement learning"
        )
    if joined_ranks(os.environ) is not None:
        raise UserError(
            "rlvr preflight starts its ranks itself; leave torchrun or srun out, or start the run with "
            "preflight.enabled=true"
        )
    folder = Path(tempfile.mkdtemp(prefix="rlvr-preflight-"))
    try:
        code = _launch(recipe, folder, options.json)
    except BaseException:
        shutil.rmtree(folder)
        raise
    if code != 1:  # a failure has just named its log
        shutil.rmtree(folder)
    return code


def _launch(recipe: Recipe, folder: Path, as_json: bool) -> int:
    from rlvr_cli.launch.start import launch
    from rlvr_cli.schema import WandbMode

    alone = replace(
        recipe,
        out=str(folder),
        tracker=replace(recipe.tracker, wandb=WandbMode.disabled, rollouts=False),
        faults=replace(recipe.faults, max_restarts=0),
    )
    try:
        return launch(
            alone,
            "rlvr_cli.preflight.examine:check_quietly" if as_json else "rlvr_cli.preflight.examine:check",
        )
    finally:
        report = folder / "preflight.json"
        if as_json and report.is_file():
            print(report.read_text(), end="")
