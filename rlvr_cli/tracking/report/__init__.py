"""`rlvr report`: runs on one page of HTML, as a picture, as tables on the terminal and in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.tracking.report.export import exported
from rlvr_cli.tracking.report.gather import read_runs
from rlvr_cli.tracking.report.groups import control_of, doubts, group
from rlvr_cli.tracking.report.measures import measures
from rlvr_cli.tracking.report.page import build
from rlvr_cli.tracking.report.picture import picture
from rlvr_cli.tracking.report.summary import print_summary


def report(
    paths: list[Path],
    *,
    page: Path,
    png: Path | None,
    megabytes: float,
    steps: list[int] | None,
    terminal: TextIO,
    group_by: Sequence[str] | None = None,
    control: str | None = None,
    table: Path | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write the page (with at most `megabytes` of rollouts), the picture and the table, print the summary.

    `group_by`: keys of the recipe whose values make the groups; `control`: the group that the others are
    compared with; `notes` are said below the tables.
    UserError before anything is written: a path that is no run, a `steps` without rollouts, nothing to draw,
    no such key.
    """
    runs = read_runs(paths)
    if steps is not None:
        recorded = {step for run in runs for step in run.recorded}
        if absent := [step for step in steps if step not in recorded]:
            known = f"{min(recorded)} to {max(recorded)}" if recorded else "none"
            raise UserError(f"--steps: no rollouts of step {absent[0]} are recorded; there are {known}")
    groups = None if group_by is None else group(runs, group_by)
    against = None if groups is None or control is None else control_of(groups, control)
    found = [] if groups is None else measures(runs, groups)
    said = [*notes, *([] if groups is None else doubts(runs, groups))]
    contents: dict[Path, bytes] = {}
    contents[page] = build(runs, int(megabytes * 1e6), steps, groups, found, said, against).encode("utf-8")
    if png is not None:
        contents[png] = picture(runs, groups)
    if table is not None:
        contents[table] = exported(table.suffix, runs, groups, found)
    for path, each in contents.items():
        try:
            write_atomically(path, each)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written: {error.strerror}; name another file with --out, --png or --table"
            ) from error
    written = [f"{path} ({len(each) / 1e6:.1f} MB)" for path, each in contents.items()]
    print_summary(terminal, runs, written, groups, found, said, against)
