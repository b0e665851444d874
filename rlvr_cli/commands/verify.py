"""`rlvr verify`: verifiers on responses that are there already."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from rlvr_cli.commands.arguments import add_verifier, parse, parser_of
from rlvr_cli.core.errors import UserError

VERIFY = """\
DATA is a file of rows {response, answer, ...} (.jsonl, .json, .parquet); with --self-test a set of
problems: an entry of data or bench, a file, a hub id or synthetic:FAMILY.

examples:
  rlvr verify cases.jsonl --verifier math
  rlvr verify cases.jsonl --verifier math --option extraction=answer_line --out verdicts.jsonl
  rlvr verify cases.jsonl --compare math,match verifiers.match.extraction=boxed
  rlvr verify math500 --self-test
  rlvr verify my_problems.jsonl --self-test --verifier gsm8k --floor 0.99 source.limit=500
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
    names = [name for name in (options.compare or options.verifier or "").split(",") if name]
    if options.compare and len(set(names)) < 2:
        raise UserError(f"--compare {options.compare}: name two verifiers or more, e.g. math,match")
    from rlvr_cli.compose import find_plugins
    from rlvr_cli.compose.verify import load_verify

    recipe = load_verify(names, options.option, data, overrides)
    find_plugins.tell()
    page = import_module("rlvr_cli.evaluation.verify")
    if options.self_test:
        return int(page.run_self_test(recipe, sys.stdout, options.floor, options.out))
    return int(page.run_cases(recipe, sys.stdout, options.out))
