"""The words behind a verb: options, one recipe and overrides, in any order."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

from rlvr_cli.core.errors import UserError, hint


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that every mistake ends in the same one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parser_of(verb: str, epilog: str, usage: str) -> Parser:
    """A parser of `rlvr VERB`; `usage` is what follows these two words."""
    return Parser(
        prog=f"rlvr {verb}",
        usage=f"rlvr {verb} {usage}",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_verifier(parser: argparse.ArgumentParser, text: str) -> None:
    """`--verifier` and its settings, for verbs that name one without a recipe."""
    parser.add_argument("--verifier", metavar="NAME", help=text)
    parser.add_argument(
        "--option", metavar="KEY=VALUE", action="append", default=[], help="one of its settings"
    )


def parse(parser: Parser, arguments: list[str]) -> tuple[argparse.Namespace, str | None, list[str]]:
    """Options, the recipe and the overrides, in any order."""
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options, unknown = parser.parse_known_intermixed_args(arguments)
    for word in unknown:
        bare = word.lstrip("-")
        if word in ("-m", "--multirun"):
            raise UserError(
                f"{word}: several runs are a sweep: rlvr sweep RECIPE trainer.lr=1e-6,3e-6 seed=0..2"
            )
        if "=" in bare:
            raise UserError(f"{word}: there is no such option; values are set without dashes: {bare}")
        if Path(word).exists() or word.endswith(".yaml"):
            raise UserError(f"{word}: a path that begins with - is written ./{word}")
        flags = [flag for action in parser._actions for flag in action.option_strings]
        from rlvr_cli.schema import foreign_names  # reads a table: not for every command

        raise UserError(f"{word}: there is no such option{foreign_names.said(bare, ()) or hint(word, flags)}")
    paths = [word for word in options.words if not _is_override(word)]
    if len(paths) > 1:
        raise UserError(
            f"{paths[1]}: one recipe at a time, and {paths[0]} is one; values are set with key=value"
        )
    return options, paths[0] if paths else None, [word for word in options.words if _is_override(word)]


def _is_override(word: str) -> bool:
    """`key=value`, `+key=value` or `~key`, unless there is a file of that name; of any length."""
    return bool(re.match(r"[+~]*[\w.@/-]+=|~[\w.@]", word)) and not os.path.isfile(word)


def run_directories(verb: str, given: list[str]) -> list[Path]:
    """Each of them; UserError for what is none, and for one that is given twice."""
    paths = [_run_directory(verb, each) for each in given]
    for index, path in enumerate(paths):
        if path.resolve() in [before.resolve() for before in paths[:index]]:
            raise UserError(f"{path} is given twice; name each run once")
    return paths


def _run_directory(verb: str, given: str) -> Path:
    path = Path(given).expanduser()
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        beside = (
            [str(each) for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
        )
        raise UserError(f"{given} {kind}; {verb} takes run directories{hint(given, beside, 'there are')}")
    if not any((path / name).is_file() for name in ("recipe.yaml", "metrics.jsonl")):
        raise UserError(f"{given} is no run directory: it has neither recipe.yaml nor metrics.jsonl")
    return path


def check_new_recipe(target: Path) -> None:
    """UserError where a recipe cannot be written to what `-o` names."""
    if target.suffix != ".yaml":
        raise UserError(f"-o {target}: a recipe's name ends in .yaml")
    if target.exists():
        raise UserError(f"{target} exists; give another name with -o")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a directory")
