"""`rlvr inspect weights`: a model before and after training, weight by weight."""

from __future__ import annotations

import argparse
import json
from importlib import import_module

from rlvr_cli.commands.arguments import parser_of

WEIGHTS = """\
BASE is the model before training, TUNED one that was made of it; both are Hugging Face folders or run
directories (of which final/ is taken). Weights are read one after the other from safetensors; no model is
built. An entry counts as changed where its value as bf16 is another one.

examples:
  rlvr inspect weights runs/tiny_sft runs/tiny_dapo
  rlvr inspect weights base tuned_seed0 tuned_seed1 --json
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, WEIGHTS, "BASE TUNED [TUNED ...] [--json]")
    add(parser)
    options = parser.parse_intermixed_args(arguments)
    measured = import_module("rlvr_cli.inspect.weights").inspect(options.base, options.tuned)
    if options.json:
        print(json.dumps(measured.as_json(), indent=1))
    else:
        print("\n".join(import_module("rlvr_cli.inspect.weights_table").lines(measured)))
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="the model before training")
    parser.add_argument("tuned", nargs="+", metavar="TUNED", help="models made of it; several are compared")
    parser.add_argument("--json", action="store_true", help="print JSON, with every weight")
