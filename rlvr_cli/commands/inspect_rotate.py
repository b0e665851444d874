"""`rlvr inspect rotate`: the same function in another basis, for experiments on what training follows."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError

EDITS = {"values": ["values"], "heads": ["heads"], "both": ["values", "heads"]}
MOST_SEED = 2**62
"""Either way: a layer's number is added to it, and torch takes 64 bits."""
ROTATE = """\
Writes MODEL to OUT with the attention of some layers in another basis: values and their output in random
orthogonal directions of each head, or the heads in another order. The model computes the same function (an
order of heads exactly, rotations but for the rounding of the stored type), so that two runs from MODEL and
OUT differ in nothing but what their training makes of the geometry.

examples:
  rlvr inspect rotate runs/tiny_sft rotated --layer 1
  rlvr inspect rotate runs/tiny_sft permuted --layer 0,2 --edit heads --seed 1
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, ROTATE, "MODEL OUT --layer N[,N] [--edit values|heads|both] [--seed N]")
    add(parser)
    options = parser.parse_intermixed_args(arguments)
    out = Path(options.out).expanduser()
    if out.exists():
        raise UserError(f"OUT: {out} exists; name another folder")
    if not out.absolute().parent.is_dir():
        raise UserError(f"OUT: {out.parent} is not a directory; make it first")
    if not -MOST_SEED <= options.seed <= MOST_SEED:
        raise UserError(f"--seed is {options.seed}; it must be from -2^62 to 2^62")
    layers = _layers(options.layer)
    write = import_module("rlvr_cli.inspect.rotated_folder").write
    for line in write(options.model, out, layers, EDITS[options.edit], options.seed):
        print(line)
    print(
        f"rlvr: {out} is the same function; rlvr inspect weights says where training changes it",
        file=sys.stderr,
    )
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model folder or run directory")
    parser.add_argument("out", metavar="OUT", help="the folder to write")
    parser.add_argument("--layer", metavar="N[,N]", required=True, help="layers to edit, from 0")
    parser.add_argument("--edit", choices=list(EDITS), default="both", help="what is done to them (both)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the random directions and orders (0)"
    )


def _layers(given: str) -> list[int]:
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise UserError(f"--layer is '{given}'; it is a list of layers such as 0,3, each once")
    return [int(word) for word in words]
