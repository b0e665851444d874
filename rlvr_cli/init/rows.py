"""The rows of a file as somebody meets them who knows nothing of it: their columns, their golds, how many
there are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import EXAMPLES, PROBLEMS, lookup
from rlvr_cli.data.readers import count_rows, local_files, read
from rlvr_cli.dry_run.sources import check_files
from rlvr_cli.schema import Source

LOOKED_AT = 2000
"""Rows that are read."""
FEWEST = 16
"""Rows without which there is nothing to learn and nothing to hold out."""

Row = dict[str, Any]


@dataclass(kw_only=True)
class Rows:
    path: str
    count: int
    """Of the file; of one that cannot be counted without reading it, of what was read."""
    exact: bool
    raw: list[Row]
    """The first rows as stored."""
    columns: dict[str, str]
    """Our name -> the file's, as recognised in the first row; of problems."""
    rows: list[Row]
    """{prompt, answer, ...} in one form, of problems; empty where no column holds one."""
    examples: dict[str, str]
    """The same columns read as examples for fine-tuning; empty where they are none."""

    @property
    def answered(self) -> list[Row]:
        return [row for row in self.rows if row["answer"] is not None]


def read_rows(path: str, columns: dict[str, str], fewest: int = FEWEST) -> Rows:
    """Read the first rows of a file, folder or hub id. UserError where it is not there or holds no problems,
    or less
    than `fewest`."""
    source = Source(path=path, columns=columns)
    files = local_files(source)
    if files is not None:
        check_files("--data", files)
    stored = read(source)
    located = list(islice(stored, LOOKED_AT))
    if not located:
        raise UserError(f"--data: {path} has no rows")
    more = next(chain(stored), None) is not None
    count = (count_rows(files) if files is not None else None) if more else len(located)
    where, first = located[0]
    if "answer" in columns and not any(has(raw, columns["answer"]) for _, raw in located):
        raise UserError(
            f"columns.answer={columns['answer']}: {path} has no such column; it has {', '.join(first)}"
        )
    examples = _examples(first, columns, where)
    found: dict[str, str] = {}
    rows: list[Row] = []
    try:
        found = PROBLEMS.recognise(first, columns, where)
        rows = [PROBLEMS.normalise(raw, found, place) for place, raw in located]
    except UserError:
        if not examples:
            raise
    if len(located) < fewest:
        raise UserError(
            f"--data: {path} has {len(located)} rows; at least {fewest} are needed to learn from and to "
            "measure"
        )
    return Rows(
        path=path,
        count=count or len(located),
        exact=count is not None,
        raw=[raw for _, raw in located],
        columns=found,
        rows=rows,
        examples=examples,
    )


def has(raw: Row, path: str) -> bool:
    """Whether a row has a column."""
    try:
        lookup(raw, path)
    except KeyError:
        return False
    return True


def _examples(first: Row, columns: dict[str, str], where: str) -> dict[str, str]:
    """Columns of an example with a request and a reply, or none."""
    try:
        found = EXAMPLES.recognise(first, {k: v for k, v in columns.items() if k != "answer"}, where)
        EXAMPLES.normalise(first, found, where)
    except UserError:
        return {}
    reply = found.get("completion")
    if reply is not None and not isinstance(lookup(first, reply), str | list):
        return {}
    return found
