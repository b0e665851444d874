"""`rlvr init`: a recipe for a file of problems and a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from rlvr_cli.commands.arguments import check_new_recipe, parse, parser_of
from rlvr_cli.core.errors import UserError

INIT = """\
Looks at both and writes a short recipe that runs: the columns, the kind of answers, the verifier that goes
with them and how many it accepts, a prompt, a tenth of the rows held out as a bench, sizes for this machine.

--task is guessed from the rows: math (numbers, formulas, a few words), code (tests), choice (letters), chat
(replies to learn from, or instructions to follow), reward (a function or model of yours scores the
responses).

examples:
  rlvr init --data problems.jsonl --model ./my_model
  rlvr init --data problems.jsonl --model Qwen/Qwen2.5-1.5B -o mine.yaml columns.answer=gold
  rlvr init --data prompts.jsonl --model ./my_model --reward my_reward.py:compute_score
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="PATH", help="a .jsonl, .parquet, .json or .csv file, a folder or a hub id"
    )
    parser.add_argument("--model", metavar="PATH", help="a model folder, a hub id or a run directory")
    parser.add_argument(
        "--task", metavar="TASK", help="math, code, choice, chat or reward (default: by the rows)"
    )
    parser.add_argument(
        "--reward", metavar="FILE", help="FILE.py, FILE.py:FUNCTION, or the folder of a reward model"
    )
    parser.add_argument(
        "-o", "--out", metavar="FILE", help="the recipe (default: called after the data, .yaml)"
    )


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, INIT, "--data PATH --model PATH [--task TASK] [--reward FILE.py] [-o FILE]")
    add(parser)
    options, stray, words = parse(parser, arguments)
    if stray is not None:
        raise UserError(f"{stray}: init takes its data and its model by options: --data {stray}")
    for option in ("data", "model"):
        if getattr(options, option) is None:
            raise UserError(f"init needs --{option}; see rlvr init --help")
    from rlvr_cli.init import make, recipe_text
    from rlvr_cli.init.task import TASKS

    if options.task not in (None, *TASKS):
        raise UserError(f"--task {options.task}: there is no such task; there are {', '.join(TASKS)}")
    target = Path(options.out or f"{recipe_text.key_of(options.data)}.yaml")
    check_new_recipe(target)
    made = make.make(
        options.data, options.model, target, task=options.task, reward=options.reward, columns=_columns(words)
    )
    warnings = list(make.write(made, target))
    print("\n".join([*made.lines, *(f"warning {line}" for line in warnings)]))
    print(f"\nwrote {target}; look at it, then:")
    print(f"  rlvr {made.verb} {target} --dry-run")
    print(f"  rlvr {made.verb} {target}")
    return 0


def _columns(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.startswith("columns."):
            raise UserError(
                f"{word}: init takes columns.NAME=COLUMN only; all else is set in the recipe it writes"
            )
        found[key.removeprefix("columns.")] = value
    return found
