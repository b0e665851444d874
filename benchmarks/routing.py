"""Routing replay against an engine whose routers are noisy (docs/routing_replay.md):

    rlvr sft tiny_moe_sft
    python benchmarks/routing.py --plot docs/routing.png

Trains `tiny_moe_grpo` from the mixture of `tiny_moe_sft`, through vLLM in the trainer's process, with
`rollout.routing_replay` as the label says. Noise of `--noise` on router logits is the engine's alone
(`router_noise.py`). `none` is run as `measure`, which computes the same and counts.

A run that is there is not made again: an interrupted benchmark goes on, and `--seeds` can be raised. Writes a
table (Markdown) and a plot: of each step the largest ratio of a token's probabilities in engine and trainer,
k3, the share of (token, router) pairs that the trainer computed with other experts, and the mean reward.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import exp, log
from pathlib import Path
from statistics import mean, median

import numpy as np
from algorithms import STUDENT_95
from router_noise import VARIABLE
from seeds import SAMPLED, finished, interval, parser, show, train_all

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE

NOISY = f"plugins=[{Path(__file__).with_name('router_noise.py')}]"
RUNS = {
    "exact, none": ["rollout.routing_replay=measure"],
    "exact, r3": ["rollout.routing_replay=r3"],
    "noise, none": ["rollout.routing_replay=measure", NOISY],
    "noise, r2": ["rollout.routing_replay=r2", NOISY],
    "noise, r3": ["rollout.routing_replay=r3", NOISY],
}
SMALL = (
    "batch.prompts_per_step=16",
    "algorithm/kl=none",
    "trainer.lr=1e-4",
    "eval.at_start=false",
    "eval.at_end=false",
)
LAST = 5
"""Steps at the end whose mean reward is told."""
Steps = list[dict[str, float]]
"""Of one run, `SHOWN` by name."""
SHOWN: dict[str, tuple[str, str]] = {
    "ratio": ("mismatch/max", "largest ratio of a token, engine to trainer"),
    "k3": ("mismatch/k3", "k3, nats a token"),
    "others": ("routing/disagreement", "computed with other experts"),
    "reward": ("reward/mean", "reward"),
}
"""Name -> metric, title."""
IN_LOGS = ("ratio", "k3")
"""Means and intervals of these are of their logarithms: a spike would be all of the mean."""


def steps_of(run: Path) -> Steps:
    """By step; `mismatch/max` is in nats, its ratio is told. With r2 nobody knows the engine's experts."""
    rows = [row for row in read_metrics(run) if "event" not in row]
    found = [{name: row[metric] for name, (metric, _) in SHOWN.items()} for row in rows]
    return [
        each
        | {"ratio": exp(each["ratio"]), "extreme": row["mismatch/extreme_fraction"]}
        | {"would": row["routing/router_disagreement"]}
        for each, row in zip(found, rows, strict=True)
    ]


def over_seeds(runs: Sequence[Steps], number: Callable[[Steps], float], form: str) -> str:
    """Mean and 95% interval over seeds of a run's number; of its logarithm where `form` is `log`."""
    values = [number(steps) for steps in runs]
    if form != "log":
        return interval(values, int(form))
    centre = exp(mean(log(value) for value in values))
    if len(values) == 1:
        return f"{centre:.3g}"
    half = half_width(np.log(values))
    return f"{centre:.3g} [{centre / exp(half):.3g}, {centre * exp(half):.3g}]"


def half_width(values: np.ndarray) -> np.ndarray:
    """Of the 95% interval of the mean over the first axis."""
    wide: np.ndarray = STUDENT_95[len(values)] * values.std(0, ddof=1) / np.sqrt(len(values))
    return wide


def table(results: Mapping[str, Sequence[Steps]]) -> Iterator[str]:
    yield (
        "| engine, replay | seeds | largest ratio of a step, median | of all | k3 | beyond a factor of 2, % "
        "| router would choose others, % | computed with others, % | reward at last |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for label, runs in results.items():
        cells = [
            over_seeds(runs, lambda steps: median(s["ratio"] for s in steps), "log"),
            f"{max(s['ratio'] for steps in runs for s in steps):.4g}",
            over_seeds(runs, lambda steps: mean(s["k3"] for s in steps), "log"),
            over_seeds(runs, lambda steps: 100 * mean(s["extreme"] for s in steps), "3"),
            over_seeds(runs, lambda steps: 100 * mean(s["would"] for s in steps), "2"),
            over_seeds(runs, lambda steps: 100 * mean(s["others"] for s in steps), "2"),
            over_seeds(runs, lambda steps: mean(s["reward"] for s in steps[-LAST:]), "3"),
        ]
        yield f"| {label} | {len(runs)} | {' | '.join(cells)} |"


def plot(results: Mapping[str, Sequence[Steps]], path: Path) -> None:
    """By step: mean over seeds and its 95% interval, and of the ratio every seed's largest as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained", sharex=True)
        for at, (name, (_, title)) in zip(axes.flat, SHOWN.items(), strict=True):
            for colour, (label, runs) in zip(COLOURS, results.items(), strict=False):
                draw(at, label, runs, name, colour)
            at.set_title(title)
            if name in IN_LOGS:
                at.set_yscale("log")
        for at in axes[1]:
            at.set_xlabel("step")
        axes[0][1].legend()
        figure.savefig(path, dpi=110)


def draw(at: object, label: str, runs: Sequence[Steps], name: str, colour: str) -> None:
    length = min(map(len, runs))
    grid = np.arange(1, length + 1)
    values = np.array([[step[name] for step in steps[:length]] for steps in runs])
    scale, back = (np.log, np.exp) if name in IN_LOGS else (np.asarray, np.asarray)
    centre = scale(values).mean(0)
    at.plot(grid, back(centre), color=colour, label=label, linewidth=1.6)  # type: ignore[attr-defined]
    if len(values) > 1:
        half = half_width(scale(values))
        band = back(centre - half), back(centre + half)
        at.fill_between(grid, *band, color=colour, alpha=0.15, linewidth=0)  # type: ignore[attr-defined]
    if name == "ratio":
        for run in values:
            at.plot(grid, run, ".", color=colour, markersize=2.5)  # type: ignore[attr-defined]


def main() -> None:
    made = parser(__doc__, RUNS, model="runs/tiny_moe_sft", out="runs/routing", steps=15)
    made.add_argument("--noise", type=float, default=0.05, help="standard deviation on router logits")
    options = made.parse_args()
    os.environ[VARIABLE] = f"{options.noise}"
    train_all(options, "tiny_moe_grpo", RUNS, [*SAMPLED, *SMALL])
    results = {
        label: [steps_of(run) for run in finished(options, label)]
        for label in options.only
        if any(finished(options, label))
    }
    show(options, table(results), results)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
