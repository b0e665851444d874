"""`rlvr inspect mismatch`: the gap between trainer and rollout engine, cause by cause."""

from __future__ import annotations

import argparse
import json
import os
from importlib import import_module
from typing import Any

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError

MISMATCH = """\
A RUN that has recorded its tokens (tracker.tokens=true) is looked at by its own record; for a MODEL the
engine of a recipe samples anew. One thing is changed at a time, and one forward of transformers made: type,
kernel and batch, what is done to logits before sampling, prompt, adapters, older weights, a mixture's
experts. The cause that leaves least of the gap is named, and the keys to set. Nothing is trained or written.

examples:
  rlvr inspect mismatch runs/mine
  rlvr inspect mismatch runs/mine --step 41 --json
  rlvr inspect mismatch runs/tiny_sft --recipe tiny_dapo rollout.dtype=bf16
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, MISMATCH, "RUN|MODEL [--recipe RECIPE] [key=value ...]")
    add(parser)
    options, path, overrides = parse(parser, arguments)
    if path is None:
        raise UserError(f"rlvr {verb} needs a run directory, or a model and --recipe")
    if options.samples < 1:
        raise UserError(f"--samples is {options.samples}; it must be at least 1")
    looked = look(path, options, overrides)
    table = import_module("rlvr_cli.inspect.mismatch_table")
    if options.json:
        print(json.dumps(table.as_json(looked), indent=1))
    else:
        print("\n".join(table.lines(looked)))
    return 0


def look(path: str, options: argparse.Namespace, overrides: list[str]) -> Any:
    """What was looked at."""
    from rlvr_cli.core.rank_process import library_defaults
    from rlvr_cli.launch import prerequisites
    from rlvr_cli.launch.redirect_output import quiet

    os.environ.update(library_defaults(1, prerequisites.count_gpus()))  # libraries read them on import
    with quiet("rlvr-inspect-"):
        page = import_module("rlvr_cli.inspect.mismatch")
        return page.inspect(path, options.samples, options.step, options.recipe, overrides)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", metavar="RECIPE", help="whose engine samples anew, for a model")
    parser.add_argument(
        "--step", type=int, metavar="N", help="of a run; default: the newest that can be judged"
    )
    parser.add_argument("--samples", type=int, metavar="N", default=16, help="sequences (16)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
