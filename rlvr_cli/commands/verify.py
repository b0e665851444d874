"""`rlvr verify`: verifiers on responses that are there already."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from rlvr_cli.commands.arguments import add_verifier, parse, parser_of
from rlvr_cli.core.errors import UserError

VERIFY = """\
DATA is a file of rows {response, answer, ...} (.jsonl, .json, .parquet); with --self-test a set of
problems: an entry of data or bench, a file, a hub id or synthetic:FAMILY; with --hacks such a set, or a
recipe, whose verifiers are all asked. Exit code 1: a test has failed, a hack pays, verdicts are missing.

examples:
  rlvr verify cases.jsonl --verifier math
  rlvr verify cases.jsonl --verifier math --option extraction=answer_line --out verdicts.jsonl
  rlvr verify cases.jsonl --compare math,match verifiers.match.extraction=boxed
  rlvr verify math500 --self-test
  rlvr verify my_problems.jsonl --self-test --verifier gsm8k --floor 0.99 source.limit=500
  rlvr verify my.yaml --hacks
  rlvr verify math500 --hacks --verifier match --json
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, VERIFY, "DATA [--verifier NAME] [key=value ...]")
    add(parser)
    return verify(*parse(parser, arguments))


def add(parser: argparse.ArgumentParser) -> None:
    add_verifier(parser, "entry of the group verifier")
    parser.add_argument("--compare", metavar="A,B", help="show where two verifiers or more disagree")
    parser.add_argument("--self-test", action="store_true", help="gold answers must score 1, wrong ones 0")
    parser.add_argument(
        "--hacks", action="store_true", help="what is paid for responses that have not earned it"
    )
    parser.add_argument("--json", action="store_true", help="with --hacks: print one JSON object")
    parser.add_argument(
        "--floor", type=float, metavar="SHARE", help="self-test: share to judge rightly (default 1)"
    )
    parser.add_argument("--out", metavar="FILE", help="write a JSON line for each verdict")


def verify(options: argparse.Namespace, data: str | None, overrides: list[str]) -> int:
    """Score the responses of a file, test a verifier on gold answers, or compare verifiers."""
    if data is None:
        raise UserError("verify needs DATA: a file of responses, or with --self-test a set of problems")
    if options.verifier and options.compare:
        raise UserError("--compare names the verifiers itself; leave --verifier out")
    if options.compare and options.self_test:
        raise UserError("--compare scores responses and --self-test makes its own; use one of them")
    if options.floor is not None and not options.self_test:
        raise UserError("--floor is for --self-test")
    if options.floor is not None and not 0 <= options.floor <= 1:
        raise UserError(f"--floor is {options.floor:g}; it must be from 0 to 1")
    check_hacks(options)
    if options.hacks and is_recipe(data):
        return hacks(recipe_of(options, data, overrides), options)
    names = [name for name in (options.compare or options.verifier or "").split(",") if name]
    if options.compare and len(set(names)) < 2:
        raise UserError(f"--compare {options.compare}: name two verifiers or more, e.g. math,match")
    from rlvr_cli.compose import find_plugins
    from rlvr_cli.compose.verify import load_verify

    recipe = load_verify(names, options.option, data, overrides)
    find_plugins.tell()
    if options.hacks:
        return hacks(recipe, options)
    page = import_module("rlvr_cli.evaluation.verify")
    if options.self_test:
        return int(page.run_self_test(recipe, sys.stdout, options.floor, options.out))
    return int(page.run_cases(recipe, sys.stdout, options.out))


def check_hacks(options: argparse.Namespace) -> None:
    """UserError for options that --hacks needs, or does not go with."""
    if options.json and not options.hacks:
        raise UserError("--json is for --hacks; --out FILE writes the verdicts of others")
    if options.hacks and (options.compare or options.self_test):
        other = "--compare" if options.compare else "--self-test"
        raise UserError(f"--hacks makes responses of its own, and {other} looks at others; use one of them")


def is_recipe(data: str) -> bool:
    """Whether DATA is a recipe, and no problems."""
    from rlvr_cli.core import shipped_recipes

    problems = [*shipped_recipes.options("data"), *shipped_recipes.options("bench")]
    return data.endswith(".yaml") or (data in shipped_recipes.recipes() and data not in problems)


def recipe_of(options: argparse.Namespace, path: str, overrides: list[str]) -> Any:
    """The recipe of a run with rewards. UserError for another one, and for options that it answers itself."""
    from rlvr_cli import compose
    from rlvr_cli.compose import find_plugins
    from rlvr_cli.schema import Recipe

    if options.verifier or options.option:
        raise UserError(f"{path} names its verifiers itself; set verifiers.NAME.KEY=VALUE")
    recipe = compose.load(path, overrides)
    find_plugins.tell()
    if not isinstance(recipe, Recipe):
        raise UserError(f"{path} is no recipe of RL, and has no verifiers that pay")
    return recipe


def hacks(recipe: Any, options: argparse.Namespace) -> int:
    page = import_module("rlvr_cli.evaluation.hacks")
    return int(page.run_hacks(recipe, sys.stdout, options.out, as_one=options.json))
