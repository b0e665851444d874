"""Tables as wide as the terminal: columns that do not fit are left out and named, none is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

GAP = 2
"""Between columns: padding, and one of the box."""


def fitted(columns: Sequence[tuple[str, Sequence[str]]], width: int, kept: int) -> tuple[Any, list[str]]:
    """A table of the columns [(title, cells)], the first on the left and the others aligned to the right.

    The first `kept` are always there, the very first cut in its middle where the terminal is too narrow; of
    the others each that still fits. Returns the titles that are left out.
    """
    from rich.text import Text

    chosen, left, used = [], [], 0
    for number, (title, cells) in enumerate(columns):
        size = max(map(len, [title, *cells])) + GAP
        if number < kept or used + size <= width:
            chosen.append((title, cells))
            used += size
        else:
            left.append(title)
    table = plain_table(*(title for title, _ in chosen))
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column is table.columns[0] else "right"
    room = max(width - (used - max(map(len, [columns[0][0], *columns[0][1]]))), 8)
    for row in zip(*(cells for _, cells in chosen), strict=True):
        table.add_row(Text(middle_cut(row[0], room)), *map(Text, row[1:]))
    return table, left


def middle_cut(text: str, width: int) -> str:
    """Both ends of what is too long: names of runs differ at their ends."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def plain_table(*titles: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
