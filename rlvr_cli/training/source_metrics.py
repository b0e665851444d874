"""Metrics of each value of a column (`data.<name>.metrics_by`), as V-Triune reports by `data_source`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Group, Problem
from rlvr_cli.data.layouts import lookup
from rlvr_cli.sampling.wording import Sums
from rlvr_cli.schema import Source
from rlvr_cli.training.metrics import judged_scores

MOST = 100
"""Values of a column; each has some ten metrics, and a column of ids would have them by the thousand."""


def check_values_of(name: str, column: str, problems: Iterable[Problem]) -> None:
    """UserError where rows lack the column, or it has more values than anybody reads."""
    values = {value_of(problem, column) for problem in problems}
    if "" in values:
        raise UserError(f"data.{name}: a row has no column '{column}' (metrics_by)")
    if len(values) > MOST:
        raise UserError(
            f"data.{name}.metrics_by: '{column}' has {len(values)} values, of which each would have metrics; "
            f"at most {MOST} are reported: name a column of sources or kinds"
        )


def value_of(problem: Problem, column: str) -> str:
    """What stands in a problem's column, as metrics are called; "" where there is nothing."""
    try:
        found = lookup(problem.extra, column)
    except KeyError:
        return ""
    return "" if found is None else str(found).strip().replace("/", "_")


def sums_by_value(mine: list[Group], data: Mapping[str, Source]) -> Sums:
    """Of rewards, verdicts and lengths, for the sources that name a column; those of ranks add up."""
    columns = {name: source.metrics_by for name, source in data.items() if source.metrics_by is not None}
    sums: Sums = {}
    for group in mine:
        column = columns.get(group.problem.source)
        if column is not None:
            _add(sums, group, f"{group.problem.source}:{value_of(group.problem, column)}")
    return sums


def _add(sums: Sums, group: Group, source: str) -> None:
    def add(name: str, value: float) -> None:
        if not math.isnan(value):
            total, count = sums.get(name, (0.0, 0))
            sums[name] = total + value, count + 1

    reward, length = f"reward/source/{source}", f"response_length/source/{source}"
    for completion, correct in zip(group.completions, group.correct, strict=True):
        add(f"{length}/mean", completion.response_length)
        add(f"{length}/truncated_fraction", float(not completion.finished))
        add(f"{reward}/correct_fraction", correct)
        if not math.isnan(correct):
            add(f"{length}/{'correct' if correct else 'wrong'}", completion.response_length)
    for score in judged_scores(group):
        add(f"{reward}/score", score)
    for value in group.rewards:
        add(f"{reward}/mean", value)
    for verdicts in group.verdicts:
        for name, verdict in verdicts.items():
            for key, said in verdict.more.items() if verdict.scored else ():
                if not isinstance(said, str):
                    add(f"{reward}/{name}/{key}", said)
