"""`rlvr plan`: memory and time of a recipe before it costs any."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from importlib import import_module
from typing import Any

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.external_ranks import joined_ranks

PLAN = """\
Predicts memory by phase and time by phase from the recipe and the model's config.json; no weights are
loaded and nothing is written. Where it does not fit, it names settings under which it does. Exit code 0: it
fits; 1: it does not.

examples:
  rlvr plan dapo_qwen7b --gpu h100 --ranks 8
  rlvr plan my.yaml model.gradient_checkpointing=true --gpu a100-80
  rlvr plan my.yaml --calibrate                 measures a few steps on this machine first
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, PLAN, "[RECIPE] [key=value ...] [--gpu NAME] [--ranks N] [--calibrate]")
    add(parser)
    return plan(*parse(parser, arguments))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        default="auto",
        help="h100, h200, b200, h20, a100-80, a100-40, l40s, a10g, l4, rtx4090, cpu or auto: this machine's",
    )
    parser.add_argument(
        "--ranks", type=int, metavar="N", help="default: trainer.ranks, else this machine's GPUs, or 8"
    )
    parser.add_argument(
        "--per-machine",
        type=int,
        metavar="N",
        help="ranks of a machine (8): what enters one over the network",
    )
    parser.add_argument("--calibrate", action="store_true", help="run a few steps here and correct by them")
    parser.add_argument("--response-tokens", type=float, metavar="N", help="mean length (half of the most)")
    parser.add_argument("--prompt-tokens", type=float, metavar="N", help="mean length (half of the most)")
    parser.add_argument("--kept", type=float, metavar="SHARE", help="groups that pass the filter (0.5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, in bytes and seconds")


def plan(options: argparse.Namespace, path: str | None, overrides: list[str]) -> int:
    """Print the plan of a recipe; 0 where it fits, else 1."""
    from rlvr_cli import compose
    from rlvr_cli.schema import DistillationRecipe, ExperienceRecipe, OTVRecipe, Recipe

    check(options)
    recipe: Any = compose.load(path, overrides)
    if isinstance(recipe, ExperienceRecipe):
        raise UserError(
            f"{path} trains nothing, and needs no more than its engine; its calls: rlvr experience --dry-run"
        )
    if isinstance(recipe, OTVRecipe):
        raise UserError(
            f"{path} is a recipe of otv, whose frozen base and cache the formulas do not know; it takes "
            "about what rlvr eval with rollout=hf takes on that model"
        )
    recipe = replace(recipe, model=replace(recipe.model, path=found(recipe.model.path, "model.path")))
    if isinstance(recipe, Recipe) and recipe.critic.path is not None:
        critic = found(recipe.critic.path, "critic.path", ("critic", "final"))
        recipe = replace(recipe, critic=replace(recipe.critic, path=critic))
    if isinstance(recipe, Recipe | DistillationRecipe) and recipe.teacher.path is not None:
        teacher = found(recipe.teacher.path, "teacher.path")
        recipe = replace(recipe, teacher=replace(recipe.teacher, path=teacher))
    measured = None
    if options.calibrate:  # before torch is imported: a child's peak begins with its parent's size
        calibrate = import_module("rlvr_cli.planning.calibrate").calibrate
        measured = calibrate(recipe, options.ranks, compose.dump)
    planner = import_module("rlvr_cli.planning.planner")
    wish = planner.Wish(
        gpu=options.gpu,
        ranks=options.ranks,
        response=options.response_tokens,
        prompt=options.prompt_tokens,
        kept=options.kept,
        machine=options.per_machine,
    )
    made = planner.make_plan(recipe, wish, measured)
    if options.json:
        print(json.dumps(planner.as_json(made), indent=1))
    else:
        print(import_module("rlvr_cli.planning.page").show(made))
    return 0 if made.memory.fits else 1


def found(path: str, key: str, parts: tuple[str, ...] = ("final",)) -> str:
    from rlvr_cli.core.model_paths import resolve_model

    return resolve_model(path, key, parts)


def check(options: argparse.Namespace) -> None:
    """Raises UserError for options that make no sense."""
    for name in ("ranks", "per_machine", "response_tokens", "prompt_tokens"):
        value = getattr(options, name)
        if value is not None and not 1 <= value < 1e9:
            raise UserError(f"--{name.replace('_', '-')} is {value:g}; it must be at least 1")
    if options.kept is not None and not 0 < options.kept <= 1:
        raise UserError(f"--kept is {options.kept:g}; it is a share above 0 and at most 1")
    if not options.calibrate:
        return
    if options.gpu != "auto":
        raise UserError(f"--calibrate measures this machine, not {options.gpu}; leave --gpu out")
    if joined_ranks(os.environ) is not None:
        raise UserError("rlvr plan --calibrate starts its ranks itself; leave torchrun or srun out")
