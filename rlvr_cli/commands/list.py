"""`rlvr list`: what there is to name in a recipe or to look for in a run, with a line on each."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from textwrap import shorten
from typing import TYPE_CHECKING

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError, hint

if TYPE_CHECKING:
    from rlvr_cli.reference.inventory import Entry

KINDS = {
    "verifiers": "what judges answers: `verifier@verifiers.NAME: ENTRY`",
    "environments": "what problems are played with, in turns: `environment@environments.NAME: ENTRY`",
    "algorithms": "presets; each is a verb: `algorithm: ENTRY`",
    "data": "data sets and synthetic families: `data@data.NAME: ENTRY`",
    "models": "`model: ENTRY`",
    "benches": "benchmarks: `bench@eval.benches.NAME: ENTRY`, or rlvr eval --bench ENTRY",
    "metrics": "numbers a run records",
    "recipes": "recipes that come with rlvr: rlvr train ENTRY",
    "options": "options of a part of an algorithm: `override algorithm/AXIS: ENTRY`",
}
HELP = """\
what:
{kinds}

Entries of groups beside RECIPE (without one: in the present folder) and what its plugins bring are
listed too, with their file. rlvr explain NAME says more of one.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", metavar="WHAT")
    parser.add_argument("which", nargs="?", metavar="RECIPE")


def run(verb: str, arguments: list[str]) -> int:
    kinds = "\n".join(f"  {name:<13}{text}" for name, text in KINDS.items())
    parser = parser_of(verb, HELP.format(kinds=kinds), "WHAT [RECIPE], or options [AXIS]")
    add(parser)
    given = parser.parse_args(arguments)
    if given.what is None:
        print(kinds)
        return 0
    if given.what not in KINDS:
        raise UserError(f"list: there is no '{given.what}' to list{hint(given.what, KINDS, 'there are')}")
    print("\n".join(_lines(given.what, given.which)))
    return 0


def _lines(what: str, which: str | None) -> list[str]:
    from rlvr_cli.commands.own_entries import own_entries
    from rlvr_cli.reference import inventory

    if what == "options":
        return _options(which)
    folders = own_entries(which)
    if what in inventory.GROUPS:
        return table(inventory.entries(what, folders))
    simple: dict[str, Callable[[], list[Entry]]] = {
        "recipes": inventory.recipes,
        "metrics": inventory.all_metrics,
    }
    return table(simple[what]())


def _options(axis: str | None) -> list[str]:
    from rlvr_cli.algorithms import PARTS
    from rlvr_cli.commands.own_entries import own_entries
    from rlvr_cli.reference import inventory

    own_entries(None)  # what plugins bring
    if axis is not None:
        axis = axis.removeprefix("algorithm").lstrip("./")
        if axis not in PARTS:
            raise UserError(f"list: algorithms have no part '{axis}'{hint(axis, PARTS)}")
        return table(inventory.options(axis))
    lines: list[str] = []
    for each in PARTS:
        lines += [f"{each}:", *(f"  {line}" for line in table(inventory.options(each), indent=2)), ""]
    return lines[:-1]


def table(entries: list[Entry], indent: int = 0) -> list[str]:
    """A line for each entry, no wider than the terminal; who has made it, where that is not rlvr."""
    width = max(shutil.get_terminal_size().columns, 60) - indent
    name = min(max((len(entry.name) for entry in entries), default=0), 40)
    lines = []
    for entry in entries:
        origin = f"  ({entry.origin})" if entry.origin else ""
        room = max(width - name - 2 - len(origin), 20)
        lines.append(
            f"{entry.name:<{name}}  {shorten(entry.text, room, placeholder=' ...')}{origin}".rstrip()
        )
    return lines
