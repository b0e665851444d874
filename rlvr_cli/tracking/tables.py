"""What a run directory and result files hold, as tables for a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rlvr_cli.core import episode_rows
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import is_result, read_result
from rlvr_cli.tracking import plots
from rlvr_cli.tracking.records import read_records, record_steps
from rlvr_cli.tracking.report.gather import Rows, Run, phases, read_runs
from rlvr_cli.tracking.report.summary import MAIN

if TYPE_CHECKING:
    from pandas import DataFrame

PER_SAMPLE = {
    "responses": "response",
    "extracted": "extracted",
    "correct": "correct",
    "scores": "score",
    "reasons": "reason",
    "details": "detail",
    "lengths": "tokens",
    "truncated": "truncated",
}
"""Lists of a problem in a result file -> columns of its samples."""


@dataclass(frozen=True)
class RunTables:
    """A run directory. Whatever is asked of it is read then: of a run that goes on, what is there now."""

    path: Path

    @property
    def state(self) -> str:
        """running, finished or stopped (interrupted, failed or killed)"""
        return self._run().state

    @property
    def metrics(self) -> DataFrame:
        """A row for each step, by step; the columns are in docs/metrics.md. NaN: not finite, or not there."""
        return metrics(self._run().rows)

    @property
    def evaluations(self) -> DataFrame:
        """A row for each step and bench; the bench of an sft recipe's own measurements is None."""
        return evaluations(self._run().rows)

    @property
    def events(self) -> DataFrame:
        """Checkpoints, warnings, diagnoses, restarts, ..., in order."""
        return events(self._run().events)

    def rollouts(self, step: int | None = None) -> DataFrame:
        """A row for each sample with its verdicts, reward and advantage, of one step or of all."""
        return rollouts(self.path, step)

    @property
    def results(self) -> Results:
        """The newest evaluation of each bench, with every sample."""
        folder = self.path / "eval" if (self.path / "eval").is_dir() else self.path
        return read_results(folder, [path.stem for path in sorted(folder.glob("*.json")) if is_result(path)])

    @property
    def final(self) -> Path | None:
        """The trained model, a Hugging Face folder; None: the run has not finished."""
        return self.path / "final" if (self.path / "final").is_dir() else None

    @property
    def summary(self) -> dict[str, Any]:
        """The run in one row: name, kind, state, steps, seconds, main metrics and evaluations.

        A metric is its mean over the last tenth of the steps, an evaluation the newest; `first/NAME` is the
        same of the beginning.
        """
        return summary(self._run())

    def _run(self) -> Run:
        return read_runs([self.path])[0]


@dataclass(frozen=True)
class Results:
    """What an evaluation has found, as it was when it was read."""

    path: Path
    """The folder of the result files."""
    files: dict[str, dict[str, Any]] = field(repr=False)
    """Bench -> its result file (docs/evaluation.md)."""

    @property
    def summary(self) -> dict[str, dict[str, float]]:
        """Bench -> its numbers: avg@k, pass@j, intervals, ..."""
        return {bench: result["summary"] for bench, result in self.files.items()}

    @property
    def problems(self) -> DataFrame:
        """A row for each problem; its samples are lists."""
        return problems(self.files.values())

    @property
    def samples(self) -> DataFrame:
        """A row for each sample."""
        return samples(self.files.values())


def read_results(folder: Path, benches: Iterable[str]) -> Results:
    """The result files of these benches in a folder."""
    return Results(folder, {bench: read_result(folder / f"{bench}.json") for bench in benches})


def metrics(rows: Rows) -> DataFrame:
    import pandas

    found = [_without(row, "nonfinite") for row in rows if "event" not in row]
    table = pandas.DataFrame(found, columns=_columns("step", "time", rows=found))
    return table.set_index("step").astype(float)


def evaluations(rows: Rows) -> DataFrame:
    import pandas

    found: Rows = []
    for row in rows:
        if row.get("event") == "eval":
            prefix = f"eval/{row['bench']}/" if row["bench"] else "eval/"
            found.append(
                {name.removeprefix(prefix): x for name, x in _without(row, "event", "nonfinite").items()}
            )
    return pandas.DataFrame(found, columns=_columns("step", "bench", "time", rows=found))


def events(rows: Rows) -> DataFrame:
    import pandas

    return pandas.DataFrame(rows, columns=_columns("step", "time", "kind", "message", rows=rows))


def rollouts(path: Path, step: int | None) -> DataFrame:
    """UserError for a step that is not recorded."""
    import pandas

    recorded = record_steps(path)
    if step is not None and step not in recorded:
        known = f"{recorded[0]} to {recorded[-1]}" if recorded else "none"
        raise UserError(f"{path}: no rollouts of step {step} are recorded; there are {known}")
    try:
        return pandas.DataFrame(list(read_records(path, step)))
    except (OSError, ValueError) as error:
        raise UserError(f"{path / 'rollouts'} cannot be read: {error}; mend or remove it") from error


def summary(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": run.name,
        "kind": run.kind,
        "state": run.state,
        "steps": run.last_step,
        "seconds": sum(phases(run.rows).values()),
    }
    for name in (*MAIN[run.kind], *plots.benches(run.rows).values()):
        values = [row[name] for row in run.rows if row.get(name) is not None]
        share = 1 if name.startswith("eval/") else max(len(values) // 10, 1)
        if values:
            found |= {f"first/{name}": fmean(values[:share]), name: fmean(values[-share:])}
    return found


def problems(results: Iterable[dict[str, Any]]) -> DataFrame:
    import pandas

    return pandas.DataFrame(
        [{"bench": result["bench"]} | problem for result in results for problem in result["problems"]]
    )


def samples(results: Iterable[dict[str, Any]]) -> DataFrame:
    import pandas

    return pandas.DataFrame(
        [
            {"bench": result["bench"]}
            | {name: problem[name] for name in ("id", "prompt", "answer")}
            | {"sample": number}
            | {column: problem[lists][number] for lists, column in PER_SAMPLE.items()}
            | (episode_rows.columns(problem["episodes"][number]) if "episodes" in problem else {})
            for result in results
            for problem in result["problems"]
            for number in range(len(problem["responses"]))
        ]
    )


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _columns(*first: str, rows: Rows) -> list[str]:
    """Those that are always there, then the others in the order in which they come."""
    return list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
