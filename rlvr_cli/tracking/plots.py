"""`curves.png`: a run's metrics on one page, drawn from its metrics.jsonl."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlvr_cli.core.files import write_atomically
from rlvr_cli.tracking.journal import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.ticker import Locator

Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]

# Okabe and Ito's palette: told apart also by the colour-blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


def smooth(values: Floats, window: int) -> Floats:
    """Centred moving average that ignores NaN and narrows at the ends."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="full")
    count = np.convolve(known.astype(float), kernel, mode="full")
    middle = slice(window // 2, window // 2 + len(values))
    with np.errstate(invalid="ignore"):
        return total[middle] / count[middle]


def series(rows: Rows, name: str) -> tuple[Floats, Floats]:
    """(steps, values) of a metric; null, a non-finite value, comes back as NaN."""
    points = [(row["step"], row[name]) for row in rows if name in row]
    steps = np.array([step for step, _ in points], dtype=float)
    return steps, np.array([np.nan if value is None else value for _, value in points], dtype=float)


def window(count: int) -> int:
    """Odd smoothing window: a fifteenth of the run."""
    return max(count // 15, 1) | 1


def line(
    axes: Axes, rows: Rows, name: str, label: str, colour: str, style: str = "solid", raw: bool = True
) -> None:
    """A smoothed line, over the faint raw one if wanted; nothing when the run has no such metric."""
    steps, values = series(rows, name)
    if not len(steps):
        return
    if raw:
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    marker = "o" if len(steps) == 1 else ""
    smoothed = smooth(values, window(len(values)))
    axes.plot(steps, smoothed, color=colour, linestyle=style, linewidth=1.8, label=label, marker=marker)


def _lines(axes: Axes, rows: Rows, title: str, names: dict[str, str]) -> None:
    for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
        line(axes, rows, name, label, colour)
    axes.set_title(title)
    legend(axes)


def legend(*several: Axes) -> None:
    """One legend above the plot, at the right: it never covers a line."""
    found = [axes.get_legend_handles_labels() for axes in several]
    handles = [handle for pair in found for handle in pair[0]]
    labels = [label for pair in found for label in pair[1]]
    if len(labels) > 1:
        columns = min(len(labels), 3)
        several[0].legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=columns,
            handlelength=1.2,
            columnspacing=1.0,
            borderaxespad=0.2,
        )


def benches(rows: Rows) -> dict[str, str]:
    """bench -> name of its avg@k metric."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: re.fullmatch(r"eval/(.+)/avg@\d+", name) for name in names}
    return {match[1]: name for name, match in found.items() if match}


def intervals(
    axes: Axes, rows: Rows, bench: str, name: str, label: str, colour: str, line_style: str = "solid"
) -> None:
    """A benchmark's means with their 95% intervals; nothing when the run has no such metric."""
    steps, mean = series(rows, name)
    if not len(steps):
        return
    low, high = (series(rows, f"eval/{bench}/ci95_{end}")[1] for end in ("low", "high"))
    bars = np.clip([mean - low, high - mean], 0, None) if len(low) == len(high) == len(mean) else None
    style: dict[str, Any] = {
        "fmt": "o",
        "linestyle": line_style,
        "markersize": 4,
        "linewidth": 1.0,
        "capsize": 2.5,
    }
    axes.errorbar(steps, mean, bars, color=colour, label=label, **style)


def _reward(axes: Axes, rows: Rows) -> None:
    line(axes, rows, "reward/mean", "reward", COLOURS[0])
    line(axes, rows, "reward/correct_fraction", "correct", COLOURS[1])
    line(axes, rows, "reward/score", "score", COLOURS[2])
    for colour, (bench, name) in zip(COLOURS[3:], benches(rows).items(), strict=False):
        intervals(axes, rows, bench, name, f"eval {bench}", colour)
    axes.set_title("reward")
    legend(axes)


def _length(axes: Axes, rows: Rows) -> None:
    line(axes, rows, "response_length/mean", "tokens", COLOURS[0])
    axes.set_title("response length")
    if len(series(rows, "response_length/truncated_fraction")[0]):
        share = axes.twinx()
        share.grid(False)
        share.set_ylim(0, 1)
        share.spines["right"].set_visible(True)
        line(share, rows, "response_length/truncated_fraction", "truncated (right)", COLOURS[1])
        legend(axes, share)


def _phases(axes: Axes, rows: Rows) -> None:
    prefix = "timing_s/"
    rows = [row for row in rows if any(name.startswith(prefix) for name in row)]
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(prefix))
    times = {name.removeprefix(prefix): np.array([row.get(name) or 0.0 for row in rows]) for name in names}
    axes.set_title("seconds a step")
    if not rows:
        return
    total = times.pop("step", sum(times.values(), np.zeros(len(rows))))
    ranked = sorted(times, key=lambda phase: -times[phase].sum())
    shown, rest = ranked[:5], total - sum((times[phase] for phase in ranked[:5]), np.zeros(len(rows)))
    stack = [*(times[phase] for phase in shown), np.clip(rest, 0, None)]
    steps = [row["step"] for row in rows]
    axes.stackplot(steps, stack, labels=[*shown, "other"], colors=[*COLOURS[:5], "#999999"], alpha=0.85)
    # A warm-up or a checkpoint may take many times longer than a usual step: leave its peak out.
    axes.set_ylim(0, 1.1 * min(float(total.max()), 2 * float(np.median(total))) or 1)
    legend(axes)


def _draw_rl(axes: Sequence[Axes], rows: Rows) -> None:
    _reward(axes[0], rows)
    _lines(axes[1], rows, "entropy (nats a token)", {"actor/entropy": "entropy"})
    _lines(axes[2], rows, "gradient norm", {"actor/grad_norm": "gradient norm"})
    _length(axes[3], rows)
    distances = {"mismatch/k3": "mismatch k3", "actor/ppo_kl": "to old", "actor/ref_kl": "to reference"}
    _lines(axes[4], rows, "KL", distances)
    values = np.concatenate([series(rows, name)[1] for name in distances])
    if (values > 0).any() and not (values < 0).any():
        axes[4].set_yscale("log")  # the three lie orders of magnitude apart
    _phases(axes[5], rows)
    if len(axes) > 6:
        _critic(axes[6:], rows)


def _critic(axes: Sequence[Axes], rows: Rows) -> None:
    _lines(axes[0], rows, "critic: value loss", {"critic/loss": "loss"})
    known = {"critic/explained_variance": "explained variance", "critic/clip_fraction": "clipped"}
    _lines(axes[1], rows, "critic: share", known)
    axes[1].set_ylim(bottom=-1)  # a critic that knows less than nothing has no lower bound
    means = {"critic/value_mean": "values", "critic/return_mean": "returns"}
    _lines(axes[2], rows, "critic: means", means)


def _draw_sft(axes: Sequence[Axes], rows: Rows) -> None:
    _lines(axes[0], rows, "loss (nats a token)", {"train/loss": "train", "eval/loss": "eval"})
    accuracy = {"train/token_accuracy": "train", "eval/token_accuracy": "eval"}
    _lines(axes[1], rows, "token accuracy", accuracy)
    _lines(axes[2], rows, "gradient norm", {"train/grad_norm": "gradient norm"})
    axes[3].plot(*series(rows, "train/lr"), color=COLOURS[0], linewidth=1.8)
    axes[3].set_title("learning rate")


def _draw_preferences(axes: Sequence[Axes], rows: Rows) -> None:
    _lines(axes[0], rows, "loss", {"train/loss": "train", "eval/loss": "eval"})
    _lines(axes[1], rows, "accuracy", {"rewards/accuracies": "train", "eval/accuracy": "eval"})
    _lines(axes[2], rows, "rewards", {"rewards/chosen": "chosen", "rewards/rejected": "rejected"})
    _lines(
        axes[3],
        rows,
        "log-probability of an answer",
        {"logps/chosen": "chosen", "logps/rejected": "rejected"},
    )
    _lines(axes[4], rows, "gradient norm", {"train/grad_norm": "gradient norm"})
    _lines(axes[5], rows, "learning rate", {"train/lr": "learning rate"})


def curves(out: Path) -> Path | None:
    """Draw `curves.png` of a run directory, again if need be; None when no step was recorded."""
    rows = read_metrics(out)
    if not steps(rows):
        return None
    write_atomically(out / "curves.png", draw(rows, out.resolve().name))
    return out / "curves.png"


def steps(rows: Rows) -> Rows:
    """The rows without those of evaluations."""
    return [row for row in rows if row.get("event") != "eval"]


def draw(rows: Rows, title: str) -> bytes:
    """The PNG of one run's metrics."""
    if any("rewards/chosen" in row for row in rows):
        return figure(lambda axes: _draw_preferences(axes, rows), 2, 3, (14, 3), title)
    if any("train/loss" in row for row in rows):
        return figure(lambda axes: _draw_sft(axes, rows), 2, 2, (10, 3), title)
    height = 3 if any("critic/loss" in row for row in rows) else 2
    return figure(lambda axes: _draw_rl(axes, rows), height, 3, (14, 3.5), title)


def figure(
    panels: Callable[[list[Axes]], None], height: int, width: int, size: tuple[float, float], title: str
) -> bytes:
    """A PNG of `height` x `width` axes that `panels` draws on; `size`: of a row, in inches."""

    def draw(made: Figure) -> None:
        panels(list(made.subplots(height, width, squeeze=False).flatten()))
        for each in made.axes:
            if not each.has_data():
                each.text(0.5, 0.5, "not recorded", color="#999999", ha="center", transform=each.transAxes)
            each.set_xlabel("step")
        made.suptitle(title, fontweight="bold")

    return _png(draw, (size[0], size[1] * height))


def blocks(parts: Callable[[Sequence[SubFigure]], None], count: int, size: tuple[float, float]) -> bytes:
    """A PNG of `count` figures below each other that `parts` draws on; `size`: of each, in inches."""

    def draw(made: Figure) -> None:
        parts(list(made.subfigures(count, 1, squeeze=False).flatten()))

    return _png(draw, (size[0], size[1] * count))


def step_ticks() -> Locator:
    """Whole steps, also where there is one alone."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, nbins=8, min_n_ticks=1)


def _png(draw: Callable[[Figure], None], size: tuple[float, float]) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(STYLE):
        # A Figure of its own instead of pyplot's: no display, no state left in the process.
        padding = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        made = Figure(figsize=size, dpi=110, layout=padding)
        canvas = FigureCanvasAgg(made)
        draw(made)
        for each in made.axes:
            each.margins(x=0.02)
            each.xaxis.set_major_locator(step_ticks())
        image = io.BytesIO()
        canvas.print_png(image)  # `savefig` writes the same bytes, and draws everything twice for them
    return image.getvalue()
