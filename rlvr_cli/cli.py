"""`rlvr VERB [RECIPE] [key=value ...]`. Imports neither torch nor hydra until a verb needs them."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rlvr_cli import (
    __version__,
    completion,
    eval_cli,
    plan_cli,
    preflight_cli,
    report_cli,
    shipped,
    verify_cli,
)
from rlvr_cli.errors import UserError, hint

OVERVIEW = """\
usage: rlvr VERB [RECIPE] [key=value ...] [--dry-run]

Reinforcement learning from verifiable rewards.

supervised fine-tuning:
  sft             train on worked examples
reinforcement learning (a recipe's algorithm decides its verb):
{presets}
any recipe:
  train           sft or reinforcement learning, whatever the recipe says
  eval            measure a model on benchmarks
  verify          score responses, test or compare verifiers
  serve-verifier  put verifiers behind HTTP
  plan            predict memory and time of a recipe, and what to change where it does not fit
  preflight       sample from the start model and say whether a recipe can learn, without training
  report          put runs on one page: curves, results, events, rollouts
  doctor          try what training needs on this machine
  recipes         list, show or copy the recipes that come with rlvr
  completion      print a completion script for bash, zsh or fish

RECIPE is a .yaml file, a run directory or the name of a shipped recipe; without it a tiny one runs.

examples:
  rlvr sft                                      a million-parameter model learns addition (2 minutes)
  rlvr dapo                                     DAPO improves it (2 minutes)
  rlvr dapo dapo_qwen7b --dry-run               what would run, resolved
  rlvr dapo my.yaml trainer.lr=5e-7 model=qwen2.5_1.5b
  rlvr dapo my.yaml algorithm/advantage=leave_one_out
  rlvr eval --model runs/tiny_dapo --bench addition

rlvr VERB --help tells more. rlvr --version prints the version.
"""

TRAINING = """\
key=value sets one value (trainer.lr=1e-6), swaps a group entry (model=qwen2.5_7b, rollout=hf,
trainer=zero3), an option of the algorithm (algorithm/advantage=leave_one_out) or the whole
algorithm (algorithm=rloo), or adds an entry (+verifier@verifiers.format=format). ~key removes.
Text with special characters is quoted twice: 'model.path="/models/step=100"'.

The run directory is `out` (runs/NAME). Starting the same recipe again continues it.
"""


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that every mistake ends in the same one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return run(arguments)
    except UserError as error:
        print(f"rlvr: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of `rlvr recipes list | head` has left
        sys.stderr.close()
        return 0


def run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    verb, *rest = arguments
    if verb == "--version":
        print(f"rlvr {__version__}")
        return 0
    other: dict[str, Callable[[list[str]], int]] = {
        "eval": evaluate,
        "verify": verify,
        "serve-verifier": serve_verifier,
        "plan": plan,
        "preflight": preflight,
        "report": report,
        "doctor": doctor,
        "recipes": recipes,
        "completion": complete,
    }
    if verb in other:
        return other[verb](rest)
    if verb in ("sft", "train", *shipped.presets()):
        return train(verb, rest)
    if verb.endswith(".yaml") or verb in shipped.recipes():
        raise UserError(f"'{verb}' is a recipe; a verb comes first: rlvr train {verb}")
    raise UserError(f"there is no verb '{verb}'{hint(verb, [*verbs(), 'help'], 'verbs')}")


def verbs() -> list[str]:
    return [
        "sft",
        "train",
        "eval",
        "verify",
        "serve-verifier",
        "plan",
        "preflight",
        "report",
        "doctor",
        "recipes",
        "completion",
        *shipped.presets(),
    ]


def overview() -> str:
    lines: list[str] = []
    line = " "
    for name in shipped.presets():
        if len(line) + len(name) > 90:
            lines, line = [*lines, line], " "
        line += f" {name}"
    return OVERVIEW.format(presets="\n".join([*lines, line]))


def train(verb: str, arguments: list[str]) -> int:
    parser = _parser(verb, TRAINING, f"[RECIPE] (default: {shipped.default_recipe(verb)[0]}) [key=value ...]")
    parser.add_argument(
        "--dry-run", action="store_true", help="check and print what would run, write nothing"
    )
    options, recipe, overrides = _parse(parser, arguments)
    from rlvr_cli import compose

    typed = compose.load(recipe, overrides, verb)
    return _run(typed, options.dry_run)


def evaluate(arguments: list[str]) -> int:
    if arguments[:1] == ["compare"]:
        parser = _parser("eval compare", eval_cli.COMPARISON, "A.json B.json [--force]")
        eval_cli.add_compare(parser)
        return eval_cli.compare(parser.parse_args(arguments[1:]))
    parser = _parser("eval", eval_cli.EVALUATION, "[RECIPE] [key=value ...]")
    eval_cli.add(parser)
    options, recipe, overrides = _parse(parser, arguments)
    if options.list:
        print("\n".join(eval_cli.listing()))
        return 0
    return _run(eval_cli.load(options, recipe, overrides), options.dry_run)


def _run(recipe: object, dry_run: bool) -> int:
    from rlvr_cli import compose, launch, plan

    if dry_run:
        print(compose.dump(recipe), end="")  # type: ignore[arg-type]
        for what, number in plan.derive(recipe).items():  # type: ignore[arg-type]
            print(f"# {what}: {number}")
        return 0
    return launch.launch(recipe)  # type: ignore[arg-type]


def verify(arguments: list[str]) -> int:
    parser = _parser("verify", verify_cli.VERIFY, "DATA [--verifier NAME] [key=value ...]")
    verify_cli.add_verify(parser)
    return verify_cli.verify(*_parse(parser, arguments))


def serve_verifier(arguments: list[str]) -> int:
    parser = _parser(
        "serve-verifier", verify_cli.SERVE, "[RECIPE | --verifier NAME] [--port N] [key=value ...]"
    )
    verify_cli.add_serve(parser)
    return verify_cli.serve(*_parse(parser, arguments))


def plan(arguments: list[str]) -> int:
    parser = _parser("plan", plan_cli.PLAN, "[RECIPE] [key=value ...] [--gpu NAME] [--ranks N] [--calibrate]")
    plan_cli.add(parser)
    return plan_cli.plan(*_parse(parser, arguments))


def preflight(arguments: list[str]) -> int:
    parser = _parser("preflight", preflight_cli.PREFLIGHT, "[RECIPE] [--json] [key=value ...]")
    preflight_cli.add(parser)
    return preflight_cli.preflight(*_parse(parser, arguments))


def doctor(arguments: list[str]) -> int:
    from rlvr_cli import doctor as page

    parser = _parser("doctor", page.HELP, "[--skip-vllm] [--json]")
    page.add(parser)
    return page.doctor(parser.parse_args(arguments))


def report(arguments: list[str]) -> int:
    parser = _parser("report", report_cli.REPORT, "RUN [RUN ...] [-o FILE] [--png FILE]")
    report_cli.add(parser)
    return report_cli.report(parser.parse_args(arguments))


def recipes(arguments: list[str]) -> int:
    parser = _parser("recipes", "", "list | show NAME | copy NAME [DEST]")
    parser.add_argument("action", nargs="?", choices=("list", "show", "copy"), default="list")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("dest", nargs="?", metavar="DEST")
    options = parser.parse_args(arguments)
    if options.action == "list":
        for name in shipped.recipes():
            print(f"{name:<24}{shipped.describe(shipped.RECIPES / f'{name}.yaml')}")
        return 0
    if options.name is None:
        parser.error(f"{options.action} needs the name of a recipe: {', '.join(shipped.recipes())}")
    source = shipped.named(options.name)
    if options.action == "show":
        print(source.read_text(), end="")
        return 0
    target = Path(options.dest or source.name)
    target = target / source.name if target.is_dir() else target
    if target.exists():
        raise UserError(f"{target} exists; give another name: rlvr recipes copy {source.stem} DEST")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a directory")
    shutil.copyfile(source, target)
    print(f"wrote {target}; run it with: rlvr train {target}")
    return 0


def complete(arguments: list[str]) -> int:
    parser = _parser(
        "completion", 'bash: eval "$(rlvr completion bash)"   fish: rlvr completion fish | source', "SHELL"
    )
    parser.add_argument("shell", choices=sorted(completion.SHELLS))
    print(completion.script(parser.parse_args(arguments).shell, verbs(), shipped.recipes()), end="")
    return 0


def _parser(verb: str, epilog: str, usage: str) -> Parser:
    return Parser(
        prog=f"rlvr {verb}",
        usage=f"rlvr {verb} {usage}",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _parse(parser: Parser, arguments: list[str]) -> tuple[argparse.Namespace, str | None, list[str]]:
    """Options, the recipe and the overrides, in any order."""
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options, unknown = parser.parse_known_intermixed_args(arguments)
    for word in unknown:
        bare = word.lstrip("-")
        if "=" in bare:
            raise UserError(f"{word}: there is no such option; values are set without dashes: {bare}")
        if Path(word).exists() or word.endswith(".yaml"):
            raise UserError(f"{word}: a path that begins with - is written ./{word}")
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise UserError(f"{word}: there is no such option{hint(word, flags)}")
    paths = [word for word in options.words if not _is_override(word)]
    if len(paths) > 1:
        raise UserError(
            f"{paths[1]}: one recipe at a time, and {paths[0]} is one; values are set with key=value"
        )
    return options, paths[0] if paths else None, [word for word in options.words if _is_override(word)]


def _is_override(word: str) -> bool:
    """`key=value`, `+key=value` or `~key`, unless there is a file of that name."""
    return bool(re.match(r"[+~]*[\w.@/-]+=|~[\w.@]", word)) and not Path(word).is_file()
