"""`rlvr report`: runs on one page of HTML."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of, run_directories
from rlvr_cli.core.errors import UserError

REPORT = """\
The page is one file that needs no network: curves, evaluations, time by phase, events, rollouts, recipes
and where they differ. Several runs are drawn on top of each other. A run that goes on can be looked at too.

examples:
  rlvr report runs/tiny_dapo
  rlvr report runs/a runs/b -o comparison.html --png curves.png
  rlvr report runs/tiny_dapo --steps 1,50,100 --rollouts 20
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, REPORT, "RUN [RUN ...] [-o FILE] [--png FILE]")
    add(parser)
    return report(verb, parser.parse_args(arguments))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="default: RUN/report.html; of several runs comparison.html in the first",
    )
    parser.add_argument("--png", metavar="FILE", help="also write the curves as a picture")
    parser.add_argument(
        "--rollouts", type=float, default=10.0, metavar="MB", help="room for rollouts of all runs (10)"
    )
    parser.add_argument("--steps", metavar="N[,N]", help="rollouts of these steps only")


def report(verb: str, options: argparse.Namespace) -> int:
    paths = run_directories(verb, options.runs)
    if not 0 <= options.rollouts <= 1000:
        raise UserError(f"--rollouts is {options.rollouts:g}; it is a size in MB from 0 to 1000")
    own = paths[0] / ("report.html" if len(paths) == 1 else "comparison.html")
    page = own if options.out is None else _target("--out", options.out)
    png = None if options.png is None else _target("--png", options.png)
    if png is not None and png.resolve() == page.resolve():
        raise UserError("--out and --png name the same file; give each its own")
    import_module("rlvr_cli.tracking.report").report(
        paths,
        page=page,
        png=png,
        megabytes=options.rollouts,
        steps=None if options.steps is None else _steps(options.steps),
        terminal=sys.stdout,
    )
    return 0


def _target(option: str, given: str) -> Path:
    path = Path(given).expanduser()
    if path.is_dir():
        raise UserError(f"{option}: {given} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{option}: {path.parent} is not a directory; make it first")
    return path


def _steps(given: str) -> list[int]:
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--steps is '{given}'; it is a list of steps such as 1,50,100")
    return [int(word) for word in words]
