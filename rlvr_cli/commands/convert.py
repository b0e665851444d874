"""`rlvr convert`: launch scripts of verl, TRL and OpenRLHF as recipes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rlvr_cli.commands.arguments import check_new_recipe, parser_of
from rlvr_cli.core.errors import UserError

CONVERT = """\
verl SCRIPT.sh, openrlhf SCRIPT.sh, trl FILE [FILE ...] (a YAML file, a Python script, a shell script, or
several that belong together). Of TRL the trainers GRPO, DPO, KTO, ORPO, CPO and Reward, of OpenRLHF
train_ppo_ray, train_dpo and train_rm. Scripts are read and never run: assignments, ${X:-default}, arithmetic,
arrays, and the lines that `set -x` prints. NAME=value sets one of their variables.

Exit code 0: every key of the script is accounted for and the recipe composes; 1: written, but something has
to be settled by hand first, or a key is unknown; 2: nothing written.

examples:
  rlvr convert verl run_qwen3-8b.sh -o mine.yaml
  rlvr convert verl run_dapo.sh NNODES=2 --rows 17398
  rlvr convert trl grpo.yaml --processes 8
  rlvr convert openrlhf train_reinforce_baseline.sh
"""
FRAMEWORKS = ("verl", "trl", "openrlhf")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", metavar="FILE", help="write the recipe there instead of printing it")
    parser.add_argument("--rows", type=int, metavar="N", help="rows to train on, for epochs as steps")
    parser.add_argument("--processes", type=int, metavar="N", help="trl: processes it runs in (default 1)")


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, CONVERT, f"{'|'.join(FRAMEWORKS)} FILE [NAME=value ...] [-o RECIPE.yaml]")
    add(parser)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(arguments)
    framework, *rest = options.words or [""]
    files = [word for word in rest if "=" not in word or Path(word).is_file()]
    variables = dict(word.split("=", 1) for word in rest if word not in files)
    for name in ("rows", "processes"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    target = Path(options.out) if options.out else None
    if target is not None:
        check_new_recipe(target)
    from rlvr_cli.convert import convert

    made = convert.convert(
        framework, [Path(file) for file in files], variables, rows=options.rows, processes=options.processes
    )
    if target is None:
        print(made.text, end="")
    fault = convert.write(made, target)
    stream = sys.stderr if target is None else sys.stdout
    for line in convert.told(made, target, fault):
        print(line, file=stream)
    return 1 if fault or made.lists.unknown else 0
