"""`rlvr report`: runs on one page of HTML."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of, run_directories
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.sweep_files import sweep_runs

REPORT = """\
The page is one file that needs no network: curves, evaluations, time by phase, events, rollouts, recipes
and where they differ. Several runs are drawn on top of each other. A run that goes on can be looked at too.
The folder of a sweep stands for its runs. --group-by takes runs together that differ in their seed alone:
means with bands, intervals over seeds and problems, every two groups compared.

examples:
  rlvr report runs/tiny_dapo
  rlvr report runs/a runs/b -o comparison.html --png curves.png
  rlvr report runs/tiny_dapo --steps 1,50,100 --rollouts 20
  rlvr report runs/tiny_dapo-sweep --group-by trainer.lr --table lr.csv
  rlvr report runs/my-controls --group-by verifiers.math --control random
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(
        verb,
        REPORT,
        "RUN|SWEEP [RUN ...] [--group-by KEY[,KEY] [--control VALUE]] [-o FILE] [--png FILE]",
    )
    add(parser)
    return report(verb, parser.parse_args(arguments))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory, or the folder of a sweep")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="default: report.html in RUN or SWEEP; of several runs comparison.html in the first",
    )
    parser.add_argument("--png", metavar="FILE", help="also write the curves as a picture")
    parser.add_argument("--group-by", metavar="KEY[,KEY]", help="keys whose values make groups of runs")
    parser.add_argument(
        "--control",
        metavar="VALUE",
        help="with --group-by: the group whose effect is no effect; the others are compared with it",
    )
    parser.add_argument("--table", metavar="FILE", help="also write the numbers, as .csv or .json")
    parser.add_argument(
        "--rollouts", type=float, default=10.0, metavar="MB", help="room for rollouts of all runs (10)"
    )
    parser.add_argument("--steps", metavar="N[,N]", help="rollouts of these steps only")


def report(verb: str, options: argparse.Namespace) -> int:
    sweep = Path(options.runs[0]).expanduser()
    given, notes = _runs_of(options.runs)
    paths = run_directories(verb, given)
    if options.control is not None and options.group_by is None:
        raise UserError("--control names a group, and --group-by makes them: give both")
    if not 0 <= options.rollouts <= 1000:
        raise UserError(f"--rollouts is {options.rollouts:g}; it is a size in MB from 0 to 1000")
    lone = len(options.runs) == 1
    own = (sweep if lone else paths[0]) / ("report.html" if lone else "comparison.html")
    targets = {
        "--out": own if options.out is None else _target("--out", options.out),
        "--png": None if options.png is None else _target("--png", options.png),
        "--table": None if options.table is None else _table(options.table),
    }
    _all_different(targets)
    import_module("rlvr_cli.tracking.report").report(
        paths,
        page=targets["--out"],
        png=targets["--png"],
        table=targets["--table"],
        megabytes=options.rollouts,
        steps=None if options.steps is None else _steps(options.steps),
        control=options.control,
        group_by=None if options.group_by is None else _keys(options.group_by),
        notes=notes,
        terminal=sys.stdout,
    )
    return 0


def _runs_of(given: list[str]) -> tuple[list[str], list[str]]:
    """The folders of sweeps by those of their runs; and what is not there yet, in words."""
    runs, notes = [], []
    for each in given:
        found = sweep_runs(Path(each).expanduser())
        if found is None:
            runs.append(each)
            continue
        begun, waiting = found
        if not begun:
            raise UserError(f"{each}: none of the sweep's {waiting} runs has recorded anything yet")
        runs += map(str, begun)
        if waiting:
            notes.append(f"{each}: {waiting} of {waiting + len(begun)} runs have recorded nothing yet")
    return runs, notes


def _all_different(targets: dict[str, Path | None]) -> None:
    named = {option: path.resolve() for option, path in targets.items() if path is not None}
    for option, path in named.items():
        for other, same in named.items():
            if option < other and path == same:
                raise UserError(f"{option} and {other} name the same file; give each its own")


def _table(given: str) -> Path:
    path = _target("--table", given)
    if path.suffix not in (".csv", ".json"):
        raise UserError(f"--table: {given} must end in .csv or .json, which says what is written")
    return path


def _keys(given: str) -> list[str]:
    keys = [key.strip() for key in given.split(",")]
    if not all(keys) or len(set(keys)) < len(keys):
        raise UserError(
            f"--group-by is '{given}'; it is a list of keys such as trainer.lr,algorithm, each once"
        )
    return keys


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
