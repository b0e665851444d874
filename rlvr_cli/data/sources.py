"""From one `schema.Source` to normalised rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data import bench_images, gym, synthetic, task_sets
from rlvr_cli.data.golds import Fault, any_text, keep_usable
from rlvr_cli.data.holdout import place_of, side
from rlvr_cli.data.image_columns import identity, looked_ahead
from rlvr_cli.data.layouts import PROBLEMS, Layout
from rlvr_cli.data.readers import Located, read

if TYPE_CHECKING:
    from rlvr_cli.vision.processor import Processor

SHOWN = 3
"""Rows that a report names of those without a gold."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a source's rows."""

    name: str
    rows: int = 0
    duplicates: int = 0
    no_gold: int = 0
    """Rows without a gold answer that their verifiers can use."""
    no_gold_rows: list[str] = field(default_factory=list)
    """The first of them, and why."""
    unusable_golds: int = 0
    """Golds left out of rows that have others."""
    held_out: int = 0
    """Rows on the other side of a `holdout`: of a source those of the benches, of a bench those that
    train."""
    images: int = 0
    """Images of the rows that are kept, and of those that are too long."""
    bad_images: int = 0
    """Rows left out because an image of theirs cannot be used."""
    bad_image_rows: list[str] = field(default_factory=list)
    """The first of them, and why."""
    too_long: int = 0
    others: dict[str, int] = field(default_factory=dict)
    """Rows left out for other reasons: what they are -> how many."""
    kept: int = 0
    tokens: int = 0
    """Tokens of what was kept (of the prompts, for problems)."""

    def __str__(self) -> str:
        dropped = {"duplicates": self.duplicates, "too long": self.too_long, **self.others}
        notes = f", {self.held_out} held out" if self.held_out else ""
        notes += "".join(f", {count} {what} left out" for what, count in dropped.items() if count)
        if self.bad_images:
            notes += f", {unusable_images(self)} left out"
        if self.no_gold:
            notes += f", {without_gold(self.no_gold, self.no_gold_rows)}"
        if self.unusable_golds:
            notes += f", golds left out of rows that have others: {self.unusable_golds}"
        seen = f", {self.images} images" if self.images else ""
        return f"{self.name}: {self.kept} of {self.rows} rows, {self.tokens} tokens{seen}{notes}"

    def leave_out(self, what: str) -> None:
        """Count a row that is left out."""
        self.others[what] = self.others.get(what, 0) + 1

    def bad_image(self, why: str) -> None:
        """Count a row that is left out for an image."""
        self.bad_images += 1
        if len(self.bad_image_rows) < SHOWN:
            self.bad_image_rows.append(why)

    def settle(self, row: dict[str, Any], where: str, fault: Fault) -> bool:
        """Whether the row has a gold that can be used; it keeps only those."""
        faults = keep_usable(row, where, fault)
        if row["answer"] is not None:
            self.unusable_golds += len(faults)
            return True
        self.no_gold += 1
        if len(self.no_gold_rows) < SHOWN:
            self.no_gold_rows.append(faults[0])
        return False


def without_gold(count: int, first: list[str]) -> str:
    """`2 without a usable gold left out (d.jsonl row 2: 'answer' is null; ...)`"""
    more = "; ..." if count > len(first) else ""
    return f"{count} without a usable gold left out ({'; '.join(first)}{more})"


def unusable_images(report: Report) -> str:
    """`2 rows with an image that cannot be used (d.jsonl row 2: there is no file a.png; ...)`"""
    more = "; ..." if report.bad_images > len(report.bad_image_rows) else ""
    rows = f"{report.bad_images} row{'s' * (report.bad_images > 1)}"
    return f"{rows} with an image that cannot be used ({'; '.join(report.bad_image_rows)}{more})"


def rows(
    source: schema.Source, seed: int, report: Report | None = None, fault: Fault = any_text
) -> list[dict[str, Any]]:
    """All problems of a source as {id, prompt, answer, alternatives, faults, extra}.

    Those without a gold are left out and counted; UserError where all are so.
    """
    report = report or Report(name=source.path)
    return list(select(replace(source, deduplicate=False, limit=None), seed, PROBLEMS, report, fault))


def normalised(source: schema.Source, seed: int, layout: Layout) -> Iterator[dict[str, Any]]:
    """Rows in one form; the layout is recognised in the first and holds for all."""
    distinct, asked = _Distinct(), side(source, lambda: _bare(source, seed, layout))
    for number, _, row in _parsed(source, seed, layout):
        row["id"] = distinct.id_of(row, number)
        if asked(row):
            yield row


def first_rows(source: schema.Source, seed: int, layout: Layout, most: int) -> list[dict[str, Any]]:
    """The first rows in one form, whatever becomes of them later; of a synthetic family only these are
    made."""
    return list(islice(_bare(source, seed, layout, most), most))


def held_out(sources: Iterable[schema.Source], seed: int, layout: Layout) -> frozenset[int]:
    """Places of the prompts that any of the sources holds out; nothing is read where there is but one
    source."""
    found = list(sources)
    if len(found) < 2:
        return frozenset()
    return frozenset(
        place_of(row)
        for source in found
        if source.holdout is not None
        for row in normalised(replace(source, held_out=True), seed, layout)
    )


def select(
    source: schema.Source,
    seed: int,
    layout: Layout,
    report: Report,
    fault: Fault = any_text,
    apart: Set[int] = frozenset(),
    processor: Processor | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows after `deduplicate`, those without a usable gold left out, then `limit`; counted in the report.

    `limit` counts both sides of a `holdout`. `apart`: prompts that other sources hold out (`held_out`).
    `processor`: whose workers open the images of rows to come.

    Lazy, so that a set stored a hundred times over costs the memory of its distinct rows, and
    before anything depends on a tokenizer, so that every model gets the same rows. UserError where
    no row has a gold that `fault` finds no fault with.
    """
    if source.limit is not None and source.limit < 1:
        raise UserError(f"{report.name}: limit is {source.limit}; it must be at least 1")
    seen: set[str] = set()
    distinct, asked = _Distinct(), side(source, lambda: _bare(source, seed, layout), apart)
    for number, where, row in looked_ahead(_parsed(source, seed, layout), source, processor):
        report.rows += 1
        key = repr(row["prompt"]) + identity(row) if source.deduplicate else ""
        if key in seen:
            report.duplicates += 1
            continue
        ours = asked(row)
        if ours and "answer" in row and not report.settle(row, where, fault):
            continue
        if source.deduplicate:
            seen.add(key)
        report.held_out += not ours
        if ours:
            row["id"] = distinct.id_of(row, number)
            yield row
        if report.rows - report.duplicates - report.no_gold == source.limit:
            break
    if report.held_out == report.rows - report.duplicates:
        raise UserError(_one_sided(source, report))
    if report.no_gold == report.rows - report.duplicates - report.held_out:
        raise UserError(
            f"{report.name}: none of the {report.rows} rows of '{source.path}' has a gold answer that can be "
            f"used: {'; '.join(report.no_gold_rows)}"
        )


def _one_sided(source: schema.Source, report: Report) -> str:
    """Said where all rows are on the side that is not asked for."""
    what = f"the {report.held_out} rows of '{source.path}'"
    if source.held_out:
        return (
            f"{report.name}: holdout={source.holdout:g} holds out none of {what}; "
            "give a number of prompts instead"
        )
    return f"{report.name}: {what} are all held out, and none is left to train on; lower holdout"


def _bare(
    source: schema.Source, seed: int, layout: Layout, most: int | None = None
) -> Iterator[dict[str, Any]]:
    return (row for _, _, row in _parsed(source, seed, layout, most))


class _Distinct:
    """Ids of rows; one that comes again gets the row's number too."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def id_of(self, row: dict[str, Any], number: int) -> str:
        found = str(row["id"])
        if found in self._seen:  # shards often restart their numbering
            found = f"{found}#{number}"
        self._seen.add(found)
        return found


def _parsed(
    source: schema.Source, seed: int, layout: Layout, most: int | None = None
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(number, place, row in one form); its id is the file's, or else its number.

    `most`: of a synthetic family no more are made.
    """
    columns: dict[str, str] | None = None
    for number, (where, raw) in enumerate(_raw(source, seed, most), 1):
        if columns is None:
            columns = layout.recognise(raw, source.columns, where)
        row = layout.normalise(raw, columns, where)
        row["id"] = str(number if row["id"] is None else row["id"])
        yield number, where, row
    if columns is None:
        raise UserError(f"{source.path} (split {source.split}) has no rows")


def _raw(source: schema.Source, seed: int, most: int | None) -> Iterator[Located]:
    if source.path.startswith(synthetic.PREFIX):
        family = source.path.removeprefix(synthetic.PREFIX)
        for number, row in enumerate(synthetic.generate(family, source.split, source.options, seed, most), 1):
            yield f"{source.path} row {number}", row
    elif source.path.startswith(gym.PREFIX):
        task = source.path.removeprefix(gym.PREFIX)
        for number, row in enumerate(gym.generate(task, source.split, source.options, seed), 1):
            yield f"{source.path} row {number}", row
    elif source.path.startswith(task_sets.PREFIX):
        name = source.path.removeprefix(task_sets.PREFIX)
        for number, row in enumerate(task_sets.generate(name, source.split, source.options), 1):
            yield f"{source.path} row {number}", row
    elif source.layout is not None:
        for where, raw in read(source):
            arranged = bench_images.arrange(source.layout, raw, source.options, seed, where)
            if arranged is not None:
                yield where, arranged
    elif source.options:
        raise UserError(
            f"options ({', '.join(source.options)}) are parameters of {synthetic.PREFIX}, {gym.PREFIX} and "
            f"{task_sets.PREFIX} sources; '{source.path}' is none of them: remove them"
        )
    else:
        yield from read(source)
