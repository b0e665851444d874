"""`rlvr why`: what is wrong with a run, from its files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_cli.commands.arguments import parser_of, run_directories
from rlvr_cli.core.documentation import DOCS
from rlvr_cli.core.errors import UserError

if TYPE_CHECKING:
    from rlvr_cli.diagnosis.account import Account

WHY = """\
Asks all rules of the diagnosis about a run that has ended or goes on, from its files alone, and prints
what they find, the weightiest first: the evidence, the keys to change, three samples that show it. It
says so where nothing is wrong and where it is too early to tell.

examples:
  rlvr why runs/mine
  rlvr why runs/a runs/b
  rlvr why runs/mine --json | jq '.[0].findings[].change'
"""
FAILURES = {
    "out of memory": "it-runs-out-of-memory",
    "no sign of life": "it-hangs",
    "NonFinite": "nan-or-infinity",
    "SyncError": "the-engine-and-the-trainer-differ",
    "verdict": "there-are-no-verdicts",
    "NoSignal": "the-reward-is-flat",
}
"""What an error says -> its heading in docs/troubleshooting.md."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory")
    parser.add_argument("--json", action="store_true", help="print JSON, with whole samples, nothing else")


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, WHY, "RUN [RUN ...] [--json]")
    add(parser)
    return why(verb, parser.parse_args(arguments))


def why(verb: str, options: argparse.Namespace) -> int:
    runs = import_module("rlvr_cli.tracking.report.gather").read_runs(run_directories(verb, options.runs))
    accounts = [(each, _account(each)) for each in runs]
    if options.json:
        print(json.dumps([_as_dict(*each) for each in accounts], indent=1, ensure_ascii=False, default=str))
        return 0
    for number, each in enumerate(accounts):
        print("\n" * (number > 0) + "\n".join(_lines(*each)))
    return 0


def _account(run: Any) -> Account:
    from rlvr_cli import compose
    from rlvr_cli.schema import Recipe
    from rlvr_cli.schema.stages import stages_of

    if not (run.path / "recipe.yaml").is_file():
        raise UserError(f"{run.path} has no recipe.yaml, without which the rules know no limits")
    recipe = compose.read(run.path / "recipe.yaml")
    if not isinstance(recipe, Recipe):
        raise UserError(f"{run.path} is no run of reinforcement learning; the rules are about those alone")
    try:
        found: Account = import_module("rlvr_cli.training.account").account_of(run.path, stages_of(recipe))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # of files that are mended
        raise UserError(
            f"{run.path}: its records cannot be read ({type(error).__name__}: {error})"
        ) from error
    return found


def _failure(run: Any) -> str | None:
    """What ended the run, where that was an error."""
    last = run.events[-1] if run.events else {}
    return last["message"] if last.get("kind") == "error" and run.state != "running" else None


def _lines(run: Any, account: Account) -> Iterator[str]:
    from rlvr_cli.diagnosis.told import in_full, one_line

    page = _page()
    yield f"{run.path}: {run.state}, {account.steps:,} steps"
    if (failure := _failure(run)) is not None:
        yield f"it failed: {one_line(failure, 500)}"
        symptom = next((anchor for word, anchor in FAILURES.items() if word in failure), None)
        if page is not None and symptom is not None:
            yield f"see: {page}#{symptom}"
    yield from in_full(account, page)


def _as_dict(run: Any, account: Account) -> dict[str, Any]:
    trend = account.trend
    return {
        "run": str(run.path),
        "state": run.state,
        "failure": _failure(run),
        "steps": account.steps,
        "early": account.early,
        "reward": None if trend is None else asdict(trend) | {"certain": trend.certain},
        "findings": [told.as_dict() for told in account.findings],
        "over": [asdict(finding) for finding in account.over],
    }


def _page() -> str | None:
    """Where the page of symptoms is, in a checkout or an installed package."""
    page = DOCS.resolve() / "troubleshooting.md"
    if not page.is_file():
        return None
    return str(page.relative_to(Path.cwd())) if page.is_relative_to(Path.cwd()) else str(page)
