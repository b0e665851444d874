"""`rlvr inspect trajectories`: the likelihood of the gold answer along recorded responses."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError

TRAJECTORIES = """\
SAMPLES is the run directory of an RL run, whose rollouts/ are taken, or a result file of rlvr eval. After
every so many tokens of a response the gold answer is scored: how likely would the model say it if it had to
answer now? Curves go to trajectories/ in the run (of a result, beside it); rlvr report shows them.

examples:
  rlvr inspect trajectories runs/tiny_dapo
  rlvr inspect trajectories runs/tiny_dapo --step 1 --model runs/tiny_sft --every 1
  rlvr inspect trajectories runs/tiny_dapo/eval/addition.json --ask " = " --close "" --words Wait,So
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, TRAJECTORIES, "SAMPLES [--model MODEL] [--every N] [--json]")
    add(parser)
    options = parser.parse_intermixed_args(arguments)
    for name in ("every", "limit"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    if options.ask == "":
        raise UserError("--ask is empty; it is the text that asks for the answer")
    if not 0 < options.ema <= 1:
        raise UserError(f"--ema is {options.ema}; it must be above 0 and at most 1")
    given = {"every": options.every, "alpha": options.ema}
    given |= {"lead": _text(options.ask)} if options.ask is not None else {}
    given |= {"close": _text(options.close)} if options.close is not None else {}
    given |= {"until": (_text(options.until),)} if options.until is not None else {}
    given |= {"lexicon": tuple(w for w in options.words.split(",") if w)} if options.words is not None else {}
    path = Path(options.samples).expanduser()
    with import_module("rlvr_cli.launch.redirect_output").quiet("rlvr-inspect-"):
        looked = import_module("rlvr_cli.inspect.trajectories")
        settings = looked.Settings(**given)
        found = looked.inspect(path, options.model, options.step, options.limit, settings)
    told = import_module("rlvr_cli.inspect.trajectory_summary")
    numbers = told.summary(found)
    files = told.write(found, numbers)
    if options.json:
        print(json.dumps(told.as_json(numbers), indent=1, ensure_ascii=False))
    else:
        print("\n".join(told.lines(found, numbers)))
        print("\n".join(f"written: {file}" for file in files))
    return 0


def _text(given: str) -> str:
    r"""`\n` as a shell hands it over is a line break."""
    return given.replace("\\n", "\n")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("samples", metavar="SAMPLES", help="a run directory, or a result file")
    texts = {
        "--model": ("MODEL", "the model that is asked (default: that of the run or result)"),
        "--ask": ("TEXT", r"text before the answer (default: \n\n**Final Answer**\n\boxed{)"),
        "--close": ("TEXT", "text after it (default: }); empty: the response ends there"),
        "--until": ("TEXT", r"thinking ends before it (default: </think>, else the last \boxed{)"),
        "--words": ("W[,W]", "words whose effect is measured, in place of Wait, Therefore, ..."),
    }
    for option, (value, text) in texts.items():
        parser.add_argument(option, metavar=value, help=text.replace("%", "%%"))
    parser.add_argument("--step", type=int, metavar="N", help="of a run: this step (default: the newest)")
    parser.add_argument("--every", type=int, metavar="N", default=8, help="tokens between places (8)")
    parser.add_argument("--limit", type=int, metavar="N", default=64, help="samples looked at (64)")
    parser.add_argument("--ema", type=float, metavar="A", default=0.01, help="of the moving average (0.01)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
