"""`rlvr inspect weights`: a model before and after training, weight by weight."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError

WEIGHTS = """\
BASE is the model before training, TUNED one that was made of it; both are Hugging Face folders or run
directories (of which final/ is taken). Weights are read one after the other from safetensors; no model is
built. An entry counts as changed where its value as bf16 is another one.

examples:
  rlvr inspect weights runs/tiny_sft runs/tiny_dapo
  rlvr inspect weights base tuned_seed0 tuned_seed1 -o weights.html --json
  rlvr inspect weights base tuned --rank 128 --exact
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, WEIGHTS, "BASE TUNED [TUNED ...] [-o FILE] [--json] [--exact | --entries]")
    add(parser)
    options = parser.parse_intermixed_args(arguments)
    check(options)
    looked = None
    if not options.entries:
        looked = import_module("rlvr_cli.inspect.spectra").Options(options.rank, options.share, options.exact)
    measured = import_module("rlvr_cli.inspect.weights").inspect(
        options.base, options.tuned, looked, _progress
    )
    if options.out is not None:
        import_module("rlvr_cli.inspect.weights_page").write(measured, Path(options.out).expanduser())
    if options.json:
        print(json.dumps(measured.as_json(), indent=1))
    else:
        print("\n".join(import_module("rlvr_cli.inspect.weights_table").lines(measured)))
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="the model before training")
    parser.add_argument("tuned", nargs="+", metavar="TUNED", help="models made of it; several are compared")
    parser.add_argument("-o", "--out", metavar="FILE", help="also write a page of HTML, with heat maps")
    parser.add_argument("--json", action="store_true", help="print JSON, with every weight")
    parser.add_argument(
        "--entries", action="store_true", help="count entries only; no singular values, no masks"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="all singular values of large matrices too, not the top ones alone",
    )
    parser.add_argument("--rank", type=int, default=32, metavar="K", help="principal directions (32)")
    parser.add_argument(
        "--share", type=float, default=0.5, metavar="SHARE", help="of the entries that a mask holds (0.5)"
    )


def check(options: argparse.Namespace) -> None:
    """Raises UserError for options that make no sense."""
    if options.entries and options.exact:
        raise UserError(
            "--entries and --exact: without directions there is nothing to compute exactly; choose one"
        )
    if options.rank < 1:
        raise UserError(f"--rank is {options.rank}; it is a number of directions, 1 or more")
    if not 0 < options.share < 1:
        raise UserError(f"--share is {options.share:g}; it is a share of the entries, above 0 and below 1")
    if options.out is not None:
        path = Path(options.out).expanduser()
        if path.is_dir() or path.suffix != ".html":
            raise UserError(f"-o {options.out}: name a file that ends in .html")
        if not path.parent.is_dir():
            raise UserError(f"-o {options.out}: {path.parent} is not a directory; make it first")


def _progress(done: int, of: int) -> None:
    """One line on a terminal, written over."""
    if sys.stderr.isatty():
        end = "\n" if done == of else ""
        print(f"\rrlvr: {done} of {of} weights", end=end, file=sys.stderr, flush=True)
