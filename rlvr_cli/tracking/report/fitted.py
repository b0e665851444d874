"""Tables as wide as the terminal: columns that do not fit are left out and named, none is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

GAP = 2
"""Between columns: padding, and one of the box."""
SHORTEST = 8
"""Characters of the first column, however narrow the terminal is."""


def fitted(columns: Sequence[tuple[str, Sequence[str]]], width: int, kept: int) -> tuple[Any, list[str]]:
    """A table of the columns [(title, cells)], the first on the left and the others aligned to the right.

    The first `kept` are there, the very first cut in its middle where the terminal is too narrow: fewer of
    them where nothing of it would be left, or two of its cells would look the same. Of the others each that
    still fits. Returns the titles that are left out.
    """
    from rich.text import Text

    sizes = [max(map(len, [title, *cells])) + GAP for title, cells in columns]
    kept, room = _room([columns[0][0], *columns[0][1]], sizes, width, kept)
    chosen, left, used = [], [], 0
    for number, (column, size) in enumerate(zip(columns, sizes, strict=True)):
        size = size if number else min(size, room + GAP)
        if number < kept or used + size <= width:
            chosen.append(column)
            used += size
        else:
            left.append(column[0])
    table = plain_table(*(title for title, _ in chosen))
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column is table.columns[0] else "right"
    for row in zip(*(cells for _, cells in chosen), strict=True):
        table.add_row(Text(middle_cut(row[0], room)), *map(Text, row[1:]))
    return table, left


def _room(first: Sequence[str], sizes: Sequence[int], width: int, kept: int) -> tuple[int, int]:
    """(columns that can be kept, characters that the first one then has)."""
    while True:
        room = width - GAP - sum(sizes[1:kept])
        same = len({middle_cut(cell, max(room, SHORTEST)) for cell in first}) < len(set(first))
        if kept <= 1 or (room >= SHORTEST and not same):
            return kept, max(room, SHORTEST)
        kept -= 1


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
