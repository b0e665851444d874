"""`--png`: the curves of one run, or the main ones of several on top of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlvr_cli.core.errors import UserError
from rlvr_cli.tracking import plots
from rlvr_cli.tracking.report.gather import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RL = (
    "reward/mean",
    "reward/correct_fraction",
    "reward/score",
    "actor/entropy",
    "actor/grad_norm",
    "response_length/mean",
    "mismatch/k3",
)
SFT = ("train/loss", "eval/loss", "train/token_accuracy", "train/grad_norm")


def picture(runs: list[Run]) -> bytes:
    """A PNG; UserError where no run has a step."""
    if not any(plots.steps(run.rows) for run in runs):
        raise UserError("--png: no step is recorded in these runs, so there is nothing to draw; leave it out")
    if len(runs) == 1:
        return plots.draw(runs[0].rows, runs[0].name)
    names = list(dict.fromkeys(name for run in runs for name in _names(run)))
    benches = {name: bench for run in runs for bench, name in plots.benches(run.rows).items()}
    columns = min(len(names), 3)

    def panels(axes: list[Axes]) -> None:
        for each, name in zip(axes, names, strict=False):
            for index, run in enumerate(runs):
                colour = plots.COLOURS[index % len(plots.COLOURS)]
                if name in benches:
                    plots.intervals(each, run.rows, benches[name], name, run.name, colour)
                else:
                    plots.line(each, run.rows, name, run.name, colour)
            each.set_title(name)
        plots.legend(axes[0])
        for each in axes[len(names) :]:
            each.remove()

    return plots.figure(panels, -(-len(names) // columns), columns, (14 / 3 * columns, 3.5), "")


def _names(run: Run) -> list[str]:
    """Main metrics a run has, and its benchmarks."""
    main = [name for name in (*RL, *SFT) if any(name in row for row in run.rows)]
    return main + list(plots.benches(run.rows).values())
