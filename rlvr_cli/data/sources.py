"""From one `schema.Source` to normalised rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data import bench_layouts, gym, synthetic
from rlvr_cli.data.layouts import PROBLEMS, Layout
from rlvr_cli.data.readers import Located, read


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a source's rows."""

    name: str
    rows: int = 0
    duplicates: int = 0
    too_long: int = 0
    kept: int = 0
    tokens: int = 0
    """Tokens of what was kept (of the prompts, for problems)."""

    def __str__(self) -> str:
        dropped = {"duplicates": self.duplicates, "too long": self.too_long}
        notes = "".join(f", {count} {what} left out" for what, count in dropped.items() if count)
        return f"{self.name}: {self.kept} of {self.rows} rows, {self.tokens} tokens{notes}"


def rows(source: schema.Source, seed: int) -> list[dict[str, Any]]:
    """All problems of a source as {id, prompt, answer, extra}."""
    return list(normalised(source, seed, PROBLEMS))


def normalised(source: schema.Source, seed: int, layout: Layout) -> Iterator[dict[str, Any]]:
    """Rows in one form; the layout is recognised in the first and holds for all."""
    columns: dict[str, str] | None = None
    seen: set[str] = set()
    for number, (where, raw) in enumerate(_raw(source, seed), 1):
        if columns is None:
            columns = layout.recognise(raw, source.columns, where)
        row = layout.normalise(raw, columns, where)
        row["id"] = str(number if row["id"] is None else row["id"])
        if row["id"] in seen:  # Shards often restart their numbering.
            row["id"] = f"{row['id']}#{number}"
        seen.add(row["id"])
        yield row
    if columns is None:
        raise UserError(f"{source.path} (split {source.split}) has no rows")


def select(source: schema.Source, seed: int, layout: Layout, report: Report) -> Iterator[dict[str, Any]]:
    """Rows after `deduplicate`, then `limit`, counted in the report.

    Lazy, so that a set stored a hundred times over costs the memory of its distinct rows, and
    before anything depends on a tokenizer, so that every model gets the same rows.
    """
    if source.limit is not None and source.limit < 1:
        raise UserError(f"{report.name}: limit is {source.limit}; it must be at least 1")
    seen: set[str] = set()
    for row in normalised(source, seed, layout):
        report.rows += 1
        if source.deduplicate:
            if (key := repr(row["prompt"])) in seen:
                report.duplicates += 1
                continue
            seen.add(key)
        yield row
        if report.rows - report.duplicates == source.limit:
            return


def _raw(source: schema.Source, seed: int) -> Iterator[Located]:
    if source.path.startswith(synthetic.PREFIX):
        family = source.path.removeprefix(synthetic.PREFIX)
        for number, row in enumerate(synthetic.generate(family, source.split, source.options, seed), 1):
            yield f"{source.path} row {number}", row
    elif source.path.startswith(gym.PREFIX):
        task = source.path.removeprefix(gym.PREFIX)
        for number, row in enumerate(gym.generate(task, source.split, source.options, seed), 1):
            yield f"{source.path} row {number}", row
    elif source.layout is not None:
        for where, raw in read(source):
            arranged = bench_layouts.arrange(source.layout, raw, source.options, seed, where)
            if arranged is not None:
                yield where, arranged
    elif source.options:
        raise UserError(
            f"options ({', '.join(source.options)}) are parameters of {synthetic.PREFIX} and {gym.PREFIX} "
            f"sources; '{source.path}' is neither: remove them"
        )
    else:
        yield from read(source)
