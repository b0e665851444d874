"""Columns of text, as every `rlvr inspect` prints its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row], left: int = 1) -> Iterator[str]:
    """A line for the head and for each row; the first `left` columns begin, the others end in line."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()
