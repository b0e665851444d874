"""`--table`: the numbers of a report as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rlvr_cli.tracking import plots
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.report.gather import Run, differences
from rlvr_cli.tracking.report.groups import Group
from rlvr_cli.tracking.report.measures import CURVES, Measure, last_tenth

Row = dict[str, Any]


def exported(
    suffix: str, runs: Sequence[Run], groups: Sequence[Group] | None, measures: Sequence[Measure]
) -> bytes:
    """`.json`: runs, groups, every comparison; `.csv`: a row for each run, or each group and measure."""
    if suffix == ".json":
        whole: Row = {"runs": run_rows(runs)}
        if groups is not None:
            whole |= {
                "groups": group_rows(runs, groups, measures),
                "comparisons": pair_rows(groups, measures),
            }
            whole["notes"] = [note for measure in measures for note in measure.notes]
        return (json.dumps(jsonable(whole), indent=1, ensure_ascii=False) + "\n").encode()
    rows = run_rows(runs) if groups is None else group_rows(runs, groups, measures)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def run_rows(runs: Sequence[Run]) -> list[Row]:
    """Newest result of each bench with its interval, the last tenth of the curves, and what differs."""
    differing = differences(list(runs))
    rows = []
    for number, run in enumerate(runs):
        row: Row = {"run": run.name, "path": str(run.path), "state": run.state, "steps": run.last_step}
        row |= {key: values[number] for key, values in differing.items()}
        for bench, name in plots.benches(run.rows).items():
            found = [each for each in run.rows if each.get(name) is not None]
            if found:
                keys = (name, f"eval/{bench}/ci95_low", f"eval/{bench}/ci95_high")
                row |= {key.removeprefix("eval/"): found[-1].get(key) for key in keys}
        row |= {name: value for name in CURVES if (value := last_tenth(run, name)) is not None}
        rows.append(row)
    return rows


def group_rows(runs: Sequence[Run], groups: Sequence[Group], measures: Sequence[Measure]) -> list[Row]:
    return [
        {
            "group": group.name,
            **group.values,
            "metric": measure.metric,
            **({} if (mean := measure.means[number]) is None else asdict(mean)),
            "problems": measure.problems,
            "each": measure.each[number],
            "members": [runs[index].name for index in group.runs],
            "best": measure.best == number,
        }
        for measure in measures
        for number, group in enumerate(groups)
    ]


def pair_rows(groups: Sequence[Group], measures: Sequence[Measure]) -> list[Row]:
    """B minus A."""
    return [
        {"metric": measure.metric, "a": groups[pair.a].name, "b": groups[pair.b].name}
        | asdict(pair.found)
        | {"p_adjusted": pair.adjusted}
        for measure in measures
        for pair in measure.pairs
    ]


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value
