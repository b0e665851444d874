"""How much age a policy gradient bears on the tiny task: `rlvr sft tiny_sft`, then this file.

`recipes/tiny_dapo.yaml` with `rollout.max_staleness` of 0, 1, 2, 4 and 16, several seeds each, with and
without a correction (`algorithm/mismatch=truncate`). Each step trains on groups exactly as old as is allowed
(`oldest.py`): no run is younger because a machine samples slowly. Nothing is filtered, so that a step costs
the same whatever has become of the policy. All runs train the same number of steps. A run that is there
already is not run again: an interrupted benchmark goes on, and `--seeds` can be raised.

Writes a table (Markdown) and a plot; accuracy is avg@4 on held-out additions after the last step.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from algorithms import ACCURACY, STUDENT_95
from seeds import SAMPLED, finished, parser, train_all

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE

CORRECTED, PLAIN = "algorithm/mismatch=truncate", "algorithm/mismatch=none"
AGED = f"plugins=[{Path(__file__).with_name('oldest.py')}]"
RUNS = {
    "0": ["rollout.max_staleness=0", CORRECTED],
    **{f"{k}": [f"rollout.max_staleness={k}", AGED, CORRECTED] for k in (1, 2, 4, 16)},
    "16, uncorrected": ["rollout.max_staleness=16", AGED, PLAIN],
}
Curve = list[tuple[float, float]]
"""(step, accuracy) of each evaluation."""


def read(options: Namespace, label: str) -> tuple[list[Curve], list[float]]:
    """Accuracy of the finished runs, and the mean age of what they trained on."""
    curves, ages = [], []
    for out in finished(options, label):
        rows = list(read_metrics(out))
        curves.append([(row["step"], row[ACCURACY]) for row in rows if ACCURACY in row])
        ages.append(mean(row.get("staleness/mean", 0.0) for row in rows if "timing_s/step" in row))
    return curves, ages


def interval(values: list[float]) -> tuple[float, float]:
    """Mean over runs and half the width of its 95% interval."""
    if len(values) < 2:
        return mean(values), float("nan")
    return mean(values), STUDENT_95[len(values)] * stdev(values) / sqrt(len(values))


def table(results: dict[str, tuple[list[Curve], list[float]]]) -> Iterator[str]:
    yield "| max_staleness | seeds | mean age | accuracy, % | least | most |"
    yield "|---|---|---|---|---|---|"
    for label, (curves, ages) in results.items():
        last = [100 * curve[-1][1] for curve in curves]
        middle, half = interval(last)
        yield (
            f"| {label} | {len(curves)} | {mean(ages):.2f} | {middle:.1f} ± {half:.1f} "
            f"| {min(last):.1f} | {max(last):.1f} |"
        )


def plot(results: dict[str, tuple[list[Curve], list[float]]], path: Path) -> None:
    """Mean accuracy over the seeds by step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for number, (label, (curves, _)) in enumerate(results.items()):
            steps = [step for step, _ in curves[0]]
            means = [100 * mean(curve[n][1] for curve in curves) for n in range(len(steps))]
            axes.plot(steps, means, color=COLOURS[number % len(COLOURS)], label=label)
        axes.set_xlabel("step")
        axes.set_ylabel("accuracy (avg@4), %")
        axes.legend(title="rollout.max_staleness")
        figure.savefig(path)


def main() -> None:
    made = parser(__doc__, RUNS, model="runs/tiny_sft", out="runs/staleness", steps=100)
    options = made.parse_args()
    train_all(options, "tiny_dapo", RUNS, [*SAMPLED, "eval.every=20", "algorithm/filter=none"])
    results = {label: found for label in options.only if (found := read(options, label))[0]}
    print("\n".join(table(results)))
    if options.plot:
        plot(results, options.plot)
    if options.json:
        last = {label: [curve[-1][1] for curve in curves] for label, (curves, _) in results.items()}
        options.json.write_text(json.dumps(last, indent=1) + "\n")


if __name__ == "__main__":
    main()
