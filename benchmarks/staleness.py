"""How much age each off-policy correction bears on the tiny task: `rlvr sft tiny_sft`, then this file.

`recipes/tiny_dapo.yaml` with `rollout.max_staleness` of 0 to 16, several seeds each, with every
correction of docs/algorithms/off_policy.md. Each step trains on groups exactly as old as is allowed
(`oldest.py`): no run is younger because a machine samples slowly. Nothing is filtered, so that a step costs
the same whatever has become of the policy. All runs train the same number of steps, of half the prompts and
a quarter of the learning rate: with that rate itself two steps of age are too much for any correction. At age
0 all corrections are exactly 1 but for rounding, and one run stands for all. A run that is there already is
not run again: an interrupted benchmark goes on, and `--seeds` can be raised. `--only` takes labels such as
"tis, 8".

Writes tables (Markdown) and a plot; accuracy is avg@4 on held-out additions after the last step.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from algorithms import ACCURACY, interval
from seeds import SAMPLED, finished, parser, train_all
from seeds import interval as written

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE

AGED = f"plugins=[{Path(__file__).with_name('oldest.py')}]"
LAGS = (0, 1, 2, 4, 8, 16)
MISMATCH = "algorithm.mismatch."
MASK, LONG = "algorithm/mismatch=mask", MISMATCH + "level=sequence"
DECOUPLED = (MASK, MISMATCH + "low=0.0", MISMATCH + "high=5.0")
CORRECTIONS = {
    "none": ("algorithm/mismatch=none",),
    "tis": ("algorithm/mismatch=truncate",),
    "sequence tis": ("algorithm/mismatch=truncate", LONG),
    "icepop": (MASK,),
    "mis": (MASK, LONG, MISMATCH + "high=2.0", MISMATCH + "weight=sequence"),
    "k3": ("algorithm/mismatch=reject", MISMATCH + "weight=none"),
    "decoupled": DECOUPLED,
    "a3po": (*DECOUPLED, MISMATCH + "proximal=interpolated"),
    "bypass": ("algorithm/mismatch=none", MISMATCH + "proximal=rollout"),
}
YOUNG = "none, 0"
RUNS = {YOUNG: ["rollout.max_staleness=0", *CORRECTIONS["none"]]} | {
    f"{name}, {lag}": [f"rollout.max_staleness={lag}", AGED, *settings]
    for lag in LAGS[1:]
    for name, settings in CORRECTIONS.items()
}
SETTINGS = (
    "rollout=hf",  # samples at half the cost here, and no other mismatch than age
    *("trainer.lr=5e-5", "batch.prompts_per_step=16", "algorithm/filter=none"),
    *("eval.every=1000", "eval.at_start=false", "checkpoint.every=1000"),
)
MEASURED = {"mismatch/k3": "k3", "mismatch/ess": "ESS", "mismatch/kept_fraction": "kept"}
"""Metrics of the second table -> their heads: means over the steps that train on samples of that age."""


@dataclass(frozen=True)
class Found:
    """The finished runs of a label."""

    accuracies: list[float]
    ages: list[float]
    measured: dict[str, float]


def read(options: Namespace, label: str) -> Found:
    """Accuracy after the last step, how old samples were, and what the corrections made of them."""
    found = Found([], [], {})
    rows_of: list[dict[str, float]] = []
    for out in finished(options, label):
        rows = list(read_metrics(out))
        found.accuracies.append([row[ACCURACY] for row in rows if ACCURACY in row][-1])
        steps = [row for row in rows if "timing_s/step" in row]
        found.ages.append(mean(row.get("staleness/mean", 0.0) for row in steps))
        rows_of += steps[len(steps) // 4 :]
    for metric in MEASURED:
        values = [row[metric] for row in rows_of if metric in row]
        found.measured.update({metric: mean(values)} if values else {})
    return found


def tables(results: dict[str, Found]) -> Iterator[str]:
    yield "| accuracy, % | " + " | ".join(f"{lag} steps old" for lag in LAGS) + " |"
    yield "|---" * (len(LAGS) + 1) + "|"
    for name in CORRECTIONS:
        cells = []
        for lag in LAGS:
            found = results.get(f"{name}, {lag}" if lag else YOUNG)
            cells.append(written([100 * x for x in found.accuracies], 1) if found else "-")
        if any(cell != "-" for cell in cells):
            yield f"| `{name}` | " + " | ".join(cells) + " |"
    yield ""
    yield "| correction, lag | seeds | mean age | " + " | ".join(MEASURED.values()) + " |"
    yield "|---" * (len(MEASURED) + 3) + "|"
    for label, found in results.items():
        told = [f"{found.measured[m]:.3g}" if m in found.measured else "-" for m in MEASURED]
        yield f"| {label} | {len(found.accuracies)} | {mean(found.ages):.2f} | " + " | ".join(told) + " |"


def plot(results: dict[str, Found], path: Path) -> None:
    """Accuracy at the end by age, a line for each correction."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
        for number, name in enumerate(CORRECTIONS):
            labels = {lag: f"{name}, {lag}" if lag else YOUNG for lag in LAGS}
            there = [lag for lag, label in labels.items() if label in results]
            if there in ([], [0]):
                continue
            ends = [interval([100 * x for x in results[labels[lag]].accuracies]) for lag in there]
            axes.errorbar(
                [LAGS.index(lag) + 0.03 * (number - len(CORRECTIONS) / 2) for lag in there],
                [middle for middle, _ in ends],
                [half for _, half in ends],
                label=name,
                capsize=2,
                marker="o",
                color=COLOURS[number % len(COLOURS)],
                linestyle=("-", "--")[number // len(COLOURS) % 2],
            )
        axes.set_xticks(range(len(LAGS)), [f"{lag}" for lag in LAGS])
        axes.set_xlabel("age of the samples, steps")
        axes.set_ylabel("accuracy (avg@4), %")
        axes.legend(title="algorithm.mismatch", fontsize="small")
        figure.savefig(path)


def main() -> None:
    made = parser(__doc__, RUNS, model="runs/tiny_sft", out="runs/staleness", steps=100)
    made.set_defaults(seeds=3)
    options = made.parse_args()
    options.overrides = [*SETTINGS, *options.overrides]
    train_all(options, "tiny_dapo", RUNS, SAMPLED)
    results = {label: found for label in options.only if (found := read(options, label)).accuracies}
    print("\n".join(tables(results)))
    if options.plot:
        plot(results, options.plot)
    if options.json:
        last = {label: found.accuracies for label, found in results.items()}
        options.json.write_text(json.dumps(last, indent=1) + "\n")


if __name__ == "__main__":
    main()
