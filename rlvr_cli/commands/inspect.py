"""`rlvr inspect WHAT`: looks into finished models and runs; `inspect_<what>.py` has each kind of look."""

from __future__ import annotations

import argparse
from importlib import import_module

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError, hint

INSPECTIONS = {
    "weights": "what training changed in the weights: how many, where, in which directions",
    "mismatch": "why the rollout engine's logprobs are not the trainer's, cause by cause",
    "trajectories": "what each part of a response is worth: the likelihood of the gold answer along it",
    "rotate": "the same function in another basis: V/O rotations and orders of heads, layer by layer",
}
"""Second word -> what it does. `commands/inspect_<word>.py` has `add(parser)` and `run(verb, arguments)`."""


def run(verb: str, arguments: list[str]) -> int:
    if arguments[:1] and arguments[0] in INSPECTIONS:
        what, *rest = arguments
        return int(import_module(f"rlvr_cli.commands.inspect_{what}").run(f"{verb} {what}", rest))
    parser = parser_of(verb, overview(), "WHAT ...")
    add(parser)
    if arguments and not arguments[0].startswith("-"):
        raise UserError(f"rlvr {verb} has no '{arguments[0]}'{hint(arguments[0], INSPECTIONS)}")
    parser.parse_args(arguments)
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help=", ".join(INSPECTIONS))


def overview() -> str:
    """A line for each, behind `rlvr inspect --help`."""
    lines = [f"  {name:<14}{summary}" for name, summary in INSPECTIONS.items()]
    return "\n".join(["WHAT is one of", *lines, "", "rlvr inspect WHAT --help tells more."])
