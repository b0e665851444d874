"""`--png`: the curves of one run, the main ones of several in one plot, or small multiples of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlvr_cli.core.errors import UserError
from rlvr_cli.tracking import plots
from rlvr_cli.tracking.report.bands import band
from rlvr_cli.tracking.report.gather import Run
from rlvr_cli.tracking.report.groups import Group
from rlvr_cli.tracking.report.looks import MOST, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

RL = {
    "reward/mean": "reward",
    "reward/correct_fraction": "correct",
    "reward/score": "score",
    "group/zero_signal_fraction": "groups without signal",
    "actor/entropy": "entropy (nats a token)",
    "actor/grad_norm": "gradient norm",
    "response_length/mean": "response length",
    "response_length/truncated_fraction": "cut off at the length limit",
    "actor/ref_kl": "KL to the reference",
    "mismatch/k3": "mismatch k3",
}
SFT = {
    "train/loss": "loss (nats a token)",
    "eval/loss": "eval loss",
    "train/token_accuracy": "token accuracy",
    "train/grad_norm": "gradient norm",
}
RAW = 4
"""Runs beyond which faint raw lines would hide the smoothed ones."""
ACROSS = 6
"""Small multiples beside each other."""
MULTIPLES = ("reward/mean", "train/loss", "eval/loss", "response_length/mean")
"""Metrics that have small multiples, besides the benches."""


def picture(runs: list[Run], groups: list[Group] | None = None) -> bytes:
    """A PNG; UserError where no run has a step."""
    if not any(plots.steps(run.rows) for run in runs):
        raise UserError("--png: no step is recorded in these runs, so there is nothing to draw; leave it out")
    if len(runs) == 1 and groups is None:
        return plots.draw(runs[0].rows, runs[0].name)
    sets = [[run] for run in runs] if groups is None else [[runs[n] for n in each.runs] for each in groups]
    labels = [run.name for run in runs] if groups is None else [each.name for each in groups]
    benches = {name: bench for run in runs for bench, name in plots.benches(run.rows).items()}
    if len(sets) > MOST:
        return _small(sets, labels, benches)
    titles = _titles(runs)
    columns = min(len(titles), 3)

    def panels(axes: list[Axes]) -> None:
        for each, (name, title) in zip(axes, titles.items(), strict=False):
            for index, members in enumerate(sets):
                _draw(each, members, name, labels[index], index, benches, raw=len(sets) <= RAW)
            each.set_title(title)
        for each in axes[len(titles) :]:
            each.remove()
        _legend(axes[0], sets, labels)

    return plots.figure(panels, -(-len(titles) // columns), columns, (14 / 3 * columns, 3.2), "")


def _titles(runs: Sequence[Run]) -> dict[str, str]:
    """Main metrics that any run has, and the benches -> title of the panel."""
    present = {name for run in runs for row in run.rows for name in row}
    main = {name: title for name, title in (RL | SFT).items() if name in present}
    found = dict.fromkeys(name for run in runs for name in plots.benches(run.rows).values())
    return main | {name: name.removeprefix("eval/") for name in found}


def _draw(
    axes: Axes,
    members: list[Run],
    name: str,
    label: str,
    index: int,
    benches: dict[str, str],
    raw: bool = True,
) -> None:
    colour, style = look(index)
    if len(members) > 1:
        found = band(members, name, smoothed=name not in benches)
        if found is not None:
            marker = "o" if name in benches or len(found.steps) == 1 else ""
            axes.fill_between(found.steps, found.low, found.high, color=colour, alpha=0.15, linewidth=0)
            if len(found.steps) == 1:  # a band has no width there
                axes.vlines(found.steps, found.low, found.high, color=colour, linewidth=1)
            axes.plot(
                found.steps,
                found.mean,
                color=colour,
                linestyle=style,
                marker=marker,
                markersize=3,
                label=label,
            )
    elif name in benches:
        plots.intervals(axes, members[0].rows, benches[name], name, label, colour, style)
    else:
        plots.line(axes, members[0].rows, name, label, colour, style, raw)


def _legend(axes: Axes, sets: list[list[Run]], labels: list[str]) -> None:
    """One for the whole picture, above all panels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=look(n)[0], linestyle=look(n)[1], linewidth=2) for n in range(len(sets))]
    widest = max(map(len, labels))
    several = any(len(each) > 1 for each in sets)
    axes.figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=max(1, min(len(labels), 150 // (widest + 8))),
        handlelength=2.4,
        title="means over runs; bands from the lowest to the highest" if several else None,
        alignment="left",
    )


def _small(sets: list[list[Run]], labels: list[str], benches: dict[str, str]) -> bytes:
    """A block for each of the first metrics, in it a panel for each run: its line over all others in grey."""
    present = _titles([run for members in sets for run in members])
    names = [name for name in present if name in MULTIPLES or name in benches]
    rows = -(-len(sets) // ACROSS)

    def blocks(parts: Sequence[SubFigure]) -> None:
        for part, name in zip(parts, names, strict=True):
            part.suptitle(present[name], fontweight="bold", x=0.01, ha="left")
            axes = list(part.subplots(rows, ACROSS, sharex=True, sharey=True, squeeze=False).flatten())
            for index, each in enumerate(axes[: len(sets)]):
                for others in sets:
                    for run in others:
                        _grey(each, run, name)
                _draw(each, sets[index], name, labels[index], index % 6, benches)
                each.set_title(labels[index], fontsize=8, fontweight="normal")
            for each in axes[len(sets) :]:
                each.set_axis_off()

    return plots.blocks(blocks, len(names), (14, 1.35 * rows + 0.5))


def _grey(axes: Axes, run: Run, name: str) -> None:
    steps, values = plots.series(run.rows, name)
    if len(steps):
        axes.plot(
            steps, plots.smooth(values, plots.window(len(values))), color="#d4d4d4", linewidth=0.6, zorder=1
        )
