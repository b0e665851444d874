"""`rlvr inspect trajectories`: the likelihood of the gold answer along recorded responses."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

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
    for name in ("every", "limit", "summaries", "summary_tokens"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
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
        settings = looked.Settings(**given, **_summaries(options))
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


def _summaries(options: argparse.Namespace) -> dict[str, Any]:
    """What of the settings says that summaries are wanted, and by whom."""
    given = {
        "--summary-model": options.summary_model,
        "--summary-ask": options.summary_ask,
        "--summary-tokens": options.summary_tokens,
    }
    if options.summaries is None:
        for option, value in given.items():
            if value is not None:
                raise UserError(f"{option} is of summaries, and none are wanted; add --summaries N")
        return {}
    wanted: dict[str, Any] = {"count": options.summaries}
    if options.summary_ask is not None:
        wanted["ask"] = _text(options.summary_ask)
        if "{thinking}" not in wanted["ask"]:
            raise UserError("--summary-ask has no {thinking} in it, the place of what is to be summarised")
    if options.summary_tokens is not None:
        wanted["tokens"] = options.summary_tokens
    made = import_module("rlvr_cli.inspect.summaries").Wanted(**wanted)
    return {"summaries": made, "summary_model": options.summary_model}


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
        "--summary-model": ("MODEL", "what writes summaries (default: the model that is asked)"),
        "--summary-ask": ("TEXT", "asks for one; has {thinking} in it, and may have {problem}"),
        "--words": ("W[,W]", "words whose effect is measured, in place of Wait, Therefore, ..."),
    }
    for option, (value, text) in texts.items():
        parser.add_argument(option, metavar=value, help=text.replace("%", "%%"))
    parser.add_argument("--step", type=int, metavar="N", help="of a run: this step (default: the newest)")
    parser.add_argument("--every", type=int, metavar="N", default=8, help="tokens between places (8)")
    parser.add_argument("--limit", type=int, metavar="N", default=64, help="samples looked at (64)")
    parser.add_argument(
        "--summaries", type=int, metavar="N", help="also ask after N summaries of each sample's thinking"
    )
    parser.add_argument("--summary-tokens", type=int, metavar="N", help="longest summary (1024)")
    parser.add_argument("--ema", type=float, metavar="A", default=0.01, help="of the moving average (0.01)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
