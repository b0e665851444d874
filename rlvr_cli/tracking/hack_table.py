"""The table of `rlvr verify --hacks`: what each verifier has paid for each hack."""

from __future__ import annotations

from typing import Any, TextIO

from rlvr_cli.tracking.text import printable
from rlvr_cli.tracking.verdicts import console_on, table_of

SHOWN = 120
"""Characters of an example."""


def print_hacks(terminal: TextIO, found: list[Any], skipped: list[str]) -> None:
    """Mean rewards by hack and verifier, `*` where above an honest wrong answer; then
    what that means."""
    console = console_on(terminal)
    table = table_of("hack", *(each.name for each in found))
    for name, values in (("(the gold)", "right"), ("(an honest wrong answer)", "wrong")):
        table.add_row(name, *(_mean(getattr(each, values)) for each in found))
    for name in dict.fromkeys(name for each in found for name in each.hacks):
        table.add_row(name, *(_cell(each, name) for each in found))
    console.print(table)
    for line in _said(found):
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)
    for line in skipped:
        console.print(printable(f"not asked: {line}"), soft_wrap=True, markup=False, highlight=False)


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "-"


def _cell(each: Any, name: str) -> str:
    paid = each.hacks.get(name)
    if paid is None or not paid.rewards:
        return "-"
    return _mean(paid.rewards) + ("*" if paid.above else "")


def _said(found: list[Any]) -> list[str]:
    lines = []
    for each in found:
        if each.lost:
            lines.append(f"{each.name}: no verdict, mostly {each.lost}")
        if each.by_nature:
            lines.append(f"{each.name}: by nature it pays for {each.by_nature}: never the only verifier")
            continue
        for name in each.paying:
            paid = each.hacks[name]
            lines.append(
                f"{each.name}: '{name}' pays on {paid.above} of {len(paid.rewards)} problems, e.g. "
                f"{paid.example[:SHOWN]!r}"
            )
        if not each.paying and not each.lost:
            lines.append(f"{each.name}: no hack pays ({len(each.hacks)} on {each.rows} problems)")
    return lines
