"""`rlvr report`: runs on one page of HTML, as a picture, and as a table on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.tracking.report.gather import read_runs
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
) -> None:
    """Write the page (with at most `megabytes` of rollouts) and the picture, print the summary.

    UserError before anything is written: a path that is no run, a `steps` without rollouts, nothing to draw.
    """
    runs = read_runs(paths)
    if steps is not None:
        recorded = {step for run in runs for step in run.recorded}
        if absent := [step for step in steps if step not in recorded]:
            known = f"{min(recorded)} to {max(recorded)}" if recorded else "none"
            raise UserError(f"--steps: no rollouts of step {absent[0]} are recorded; there are {known}")
    image = picture(runs) if png is not None else None
    content = build(runs, int(megabytes * 1e6), steps).encode("utf-8")
    written = {page: content} | ({png: image} if png is not None and image is not None else {})
    for path, each in written.items():
        try:
            write_atomically(path, each)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written: {error.strerror}; name another file with --out or --png"
            ) from error
    print_summary(terminal, runs, [f"{path} ({len(each) / 1e6:.1f} MB)" for path, each in written.items()])
