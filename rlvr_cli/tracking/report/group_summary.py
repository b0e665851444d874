"""Groups of runs on the terminal: a table for each measure, and what can be said about the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rlvr_cli.core.two_levels import Estimate
from rlvr_cli.tracking.report.fitted import fitted
from rlvr_cli.tracking.report.groups import Group
from rlvr_cli.tracking.report.measures import Measure, Pair
from rlvr_cli.tracking.text import number, one_line


def print_groups(
    console: Any, groups: Sequence[Group], measures: Sequence[Measure], control: int | None = None
) -> None:
    """`control`: place of the group that the others are compared with, besides the leading one."""
    for measure in measures:
        names = [one_line(group.name) + (" *" if n == measure.best else "") for n, group in enumerate(groups)]
        columns = [
            (measure.metric.removeprefix("eval/"), names),
            ("mean", [shown(measure, each.mean) if each else "-" for each in measure.means]),
            ("95% interval", [interval(measure, each) for each in measure.means]),
            ("runs", [str(each.runs) if each else "0" for each in measure.means]),
            ("each run", [" ".join(shown(measure, mean) for mean in each) or "-" for each in measure.each]),
        ]
        table, _ = fitted(columns, console.width, kept=3)
        console.print(table)
        for line in verdict(measure, [one_line(group.name) for group in groups]):
            console.print(line, soft_wrap=not console.is_terminal)
        for line in [] if control is None else over_control(measure, control, groups):
            console.print(line, soft_wrap=not console.is_terminal)
        console.print()


def shown(measure: Measure, value: float) -> str:
    return f"{100 * value:.1f}" if measure.share else number(value)


def interval(measure: Measure, each: Estimate | None) -> str:
    if each is None or each.low != each.low:  # NaN
        return "-"
    return f"[{shown(measure, each.low)}, {shown(measure, each.high)}]"


def verdict(measure: Measure, names: Sequence[str]) -> Iterator[str]:
    """What the intervals are over, and whether one group is best."""
    yield scope(measure)
    yield from measure.notes
    lead = measure.lead
    if lead is None or not measure.pairs:
        return
    if len({each.mean for each in measure.means if each is not None}) == 1:
        yield "all have the same mean: there is nothing to tell apart"
        return
    if measure.best is not None:
        yield f"* {names[lead]} is best: ahead of every other by more than chance"
    else:
        near = ", ".join(names[each] for each in measure.near)
        yield f"none is best: {names[lead]} leads, but what lies between it and {near} may be chance"
    many = f", p adjusted for {len(measure.pairs)} comparisons (Holm)" if len(measure.pairs) > 1 else ""
    yield f"differences from it, paired by problem{many}:" if measure.share else f"differences from it{many}:"
    mine = [pair for pair in measure.pairs if lead in (pair.a, pair.b)]
    yield from (f"  {line}" for line in aligned([difference(measure, pair, lead, names) for pair in mine]))


def scope(measure: Measure) -> str:
    """What the numbers are, and what their intervals are over."""
    over = "runs alone" if measure.problems is None else f"runs and {measure.problems} problems"
    if all(each is None or each.runs == 1 for each in measure.means):
        over = "nothing: one run each" if measure.problems is None else f"{measure.problems} problems alone"
    return f"{'percent; ' if measure.share else 'last tenth of the steps; '}intervals over {over}"


def over_control(measure: Measure, control: int, groups: Sequence[Group]) -> Iterator[str]:
    """The effect of each other group over the control: what is left of a gain that a reward without
    information, say, has as well."""
    names = [one_line(group.name) for group in groups]
    mine = [pair for pair in measure.pairs if control in (pair.a, pair.b)]
    if not mine:
        yield f"no effect over the control {names[control]} can be given: there is nothing to compare"
        return
    many = f", p adjusted for {len(measure.pairs)} comparisons (Holm)" if len(measure.pairs) > 1 else ""
    yield f"effect over the control {names[control]}{many}:"
    yield from (f"  {line}" for line in aligned([difference(measure, p, control, names) for p in mine]))


def difference(measure: Measure, pair: Pair, lead: int, names: Sequence[str]) -> list[str]:
    """Of another group from the lead."""
    sign, other = (1, pair.b) if pair.a == lead else (-1, pair.a)
    found = pair.found
    low, high = sorted((sign * found.low, sign * found.high))
    scale, form = (100, "+.1f") if measure.share else (1, "+.3g")
    p = "p < 0.001" if pair.adjusted < 0.001 else f"p {pair.adjusted:.3f}"
    alone = [] if found.seeds else ["over problems alone"]
    span = f"[{scale * low:{form}}, {scale * high:{form}}]"
    return [names[other], f"{scale * sign * found.difference:{form}}", span, p, *alone]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns below each other, numbers to the right."""
    widths = [max(len(row[n]) for row in rows if n < len(row)) for n in range(max(map(len, rows)))]
    return [
        "  ".join(f"{cell:<{widths[n]}}" if n == 0 else f"{cell:>{widths[n]}}" for n, cell in enumerate(row))
        for row in rows
    ]
