"""The page: markup, style and script of `page.*` with a run's data in it, in one file."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr_cli.tracking.report.effects import courses as courses_of
from rlvr_cli.tracking.report.effects import plain
from rlvr_cli.tracking.report.gather import EVENTS, POINTS, Run, columns, differences, phases
from rlvr_cli.tracking.report.group_summary import difference, interval, over_control, scope, shown, verdict
from rlvr_cli.tracking.report.groups import Group
from rlvr_cli.tracking.report.images import FOLDERS, Images
from rlvr_cli.tracking.report.looks import LOOKS
from rlvr_cli.tracking.report.measures import Measure
from rlvr_cli.tracking.report.rollouts import chunks, pack

HERE = Path(__file__).parent
SCRIPTS = (
    "page.js",
    "page.charts.js",
    "page.lines.js",
    "page.effects.js",
    "page.episodes.js",
    "page.courses.js",
    "page.images.js",
    "page.rollouts.js",
    "page.experiences.js",
    "page.main.js",
)


def build(
    runs: list[Run],
    budget: int,
    wanted: list[int] | None = None,
    groups: Sequence[Group] | None = None,
    measures: Sequence[Measure] = (),
    notes: Sequence[str] = (),
    control: int | None = None,
) -> str:
    """The HTML of a report with at most `budget` bytes of rollouts, an equal share for each run.

    `control`: place of the group that the others are compared with.

    Everything a run brings (model text above all) is in base64 blocks that the script unpacks and shows as
    text nodes; only the title is written as HTML, and escaped.
    """
    blocks, described, images = list[str](), [], Images(budget // 2)
    for number, run in enumerate(runs):
        share = budget // len(runs)
        pictured = any((run.path / folder).is_dir() for folder in FOLDERS)
        made = chunks(run, share // 2 if pictured else share, wanted)
        listed = []
        for index, chunk in enumerate(made):
            name = f"rollouts-{number}-{index}"
            blocks.append(f'<script type="text/plain" id="{name}">{chunk.packed}</script>')
            listed.append(
                {"id": name, "label": chunk.label, "step": chunk.step, "groups": chunk.groups}
                | {"recorded": chunk.recorded, "samples": chunk.samples}
            )
        shown, left = images.take(run.path, [chunk.files for chunk in made])
        described.append(_described(run) | {"rollouts": listed, "images": {"shown": shown, "left": left}})
    data = {
        "written": time.time(),
        "runs": described,
        "differences": differences(runs),
        "budget": budget,
        "points": POINTS,
        "looks": [{"colour": colour, "dashed": style == "dashed"} for colour, style in LOOKS],
        "title": _title(runs, groups),
        "notes": list(notes),
        "groups": None if groups is None else [{"name": each.name, "runs": each.runs} for each in groups],
        "measures": [_measured(each, groups or []) for each in measures],
        "effects": None if control is None else _effects(runs, groups or [], measures, control),
    }
    page = (HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "@STYLE@": (HERE / "page.css").read_text(encoding="utf-8"),
        "@SCRIPT@": "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "@DATA@": pack(data),
        "@ROLLOUTS@": "\n".join([*blocks, *images.blocks]),
        "@TITLE@": html.escape(_title(runs, groups)),  # last: it may hold any text
    }
    for mark, text in parts.items():
        page = page.replace(mark, text)
    return page


def _title(runs: list[Run], groups: Sequence[Group] | None) -> str:
    if len(runs) == 1:
        return runs[0].name
    return f"{len(runs)} runs" + ("" if groups is None else f" in {len(groups)} groups")


def _measured(measure: Measure, groups: Sequence[Group]) -> dict[str, Any]:
    """The rows of a measure as text: numbers are formed in one place, for the terminal and for the page."""
    names = [group.name for group in groups]
    return {
        "metric": measure.metric,
        "best": measure.best,
        "rows": [
            [
                "-" if mean is None else shown(measure, mean.mean),
                interval(measure, mean),
                str(len(measure.each[number])),
                " ".join(shown(measure, each) for each in measure.each[number]) or "-",
            ]
            for number, mean in enumerate(measure.means)
        ],
        "said": list(verdict(measure, names)),
    }


def _effects(
    runs: Sequence[Run], groups: Sequence[Group], measures: Sequence[Measure], control: int
) -> dict[str, Any]:
    """Of every other group over the control: at the end as text, over the run as numbers."""
    names = [group.name for group in groups]
    found = []
    for measure in measures:
        pairs = [pair for pair in measure.pairs if control in (pair.a, pair.b)]
        others = [pair.a if pair.b == control else pair.b for pair in pairs]
        rows = [difference(measure, pair, control, names)[1:4] for pair in pairs]
        many = f"; p adjusted for {len(measure.pairs)} comparisons (Holm)" if len(measure.pairs) > 1 else ""
        found.append(
            {
                "metric": measure.metric,
                "rows": [
                    [other, *row[:2], row[2].removeprefix("p ")]
                    for other, row in zip(others, rows, strict=True)
                ],
                "said": [scope(measure) + many] if rows else list(over_control(measure, control, groups)),
            }
        )
    courses = {name: plain(each) for name, each in courses_of(runs, groups, measures, control).items()}
    return {"control": control, "measures": found, "courses": courses}


def _described(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "kind": run.kind,
        "state": run.state,
        "last_step": run.last_step,
        "recipe": run.recipe,
        "environment": run.environment,
        "events": run.events[-EVENTS:],
        "events_recorded": len(run.events),
        "phases": phases(run.rows),
        "steps_recorded": len(run.recorded),
        "library": run.library,
        **columns(run.rows),
    }
