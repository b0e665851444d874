"""Every preset on the tiny task: `rlvr sft tiny_sft`, then `python benchmarks/algorithms.py`.

All runs start from the same model and are compared where the same number of response tokens has been
sampled, so that dynamic sampling pays for what it throws away. Everything but the algorithm is
recipes/tiny_dapo.yaml, with half its learning rate: over so few steps that gains more and varies less.
Two controls, rewards that know nothing of the answer, run beside the same algorithm with the true reward:
GRPO held by a KL penalty, because noise alone, however it averages out, walks a small model away from what
it can do (the row without the penalty shows that).

A run that is there already is not run again: an interrupted benchmark goes on, and `--seeds` can be raised.
Writes a table (Markdown) and a plot; accuracy is avg@4 on held-out additions. *more than grpo* is seed by
seed: runs of a seed have the same problems in the same order.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import started

from rlvr_cli.core import shipped_recipes
from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE

STUDENT_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95% quantile of Student's t for means of n runs."""
ACCURACY = "eval/addition/avg@4"
KL = "algorithm.kl.coef=1.0"
RANDOM, ALWAYS = "verifier@verifiers.math=random", "verifier@verifiers.math=always"
CONTROLS = {
    "grpo, KL": ["algorithm=grpo", KL],
    "random reward, KL": ["algorithm=grpo", KL, RANDOM],
    "random reward": ["algorithm=grpo", RANDOM],
    "always 1": ["algorithm=grpo", ALWAYS],
}


@dataclass(kw_only=True)
class Run:
    """What one training run left in its metrics."""

    seed: int
    steps: int
    accuracy: list[tuple[float, float]]
    """(response tokens so far, accuracy) of each evaluation; the last at the budget, interpolated."""
    curves: dict[str, list[tuple[float, float]]]
    """Metric -> (response tokens so far, value) of each step."""

    @property
    def gain(self) -> float:
        return self.accuracy[-1][1] - self.accuracy[0][1]

    def last(self, metric: str) -> float:
        """Mean over the last five steps; NaN where the run has no such metric."""
        values = [value for _, value in self.curves[metric][-5:]]
        return mean(values) if values else float("nan")


PLOTTED = {
    "actor/entropy": "entropy, nats per token",
    "actor/ref_kl": "KL to the start, nats per token",
    "response_length/mean": "response length, tokens",
}


def planned() -> dict[str, list[str]]:
    """Label -> overrides: all presets, then the controls."""
    presets = {name: [f"algorithm={name}"] for name in shipped_recipes.presets()}
    runs = presets | CONTROLS
    for label, overrides in runs.items():
        if not shipped_kl(label):
            overrides.append("algorithm/kl=measured")
    return runs


def shipped_kl(label: str) -> bool:
    """Whether the run keeps a reference policy anyway."""
    if label in CONTROLS:
        return True
    return "- kl: none" not in (shipped_recipes.CONF / "algorithm" / f"{label}.yaml").read_text()


def folder_of(options: Namespace, label: str, seed: int) -> Path:
    return Path(options.out) / label.replace(", ", "_").replace(" ", "_") / f"seed{seed}"


def train(options: Namespace, label: str, overrides: list[str], seed: int) -> None:
    """One run, unless it has been made."""
    out = folder_of(options, label, seed)
    if (out / "final").is_dir():
        return
    command = ["train", "tiny_dapo", *overrides]
    command += [f"model.path={options.model}", f"seed={seed}", f"out={out}", "trainer.steps=10000"]
    command += [f"trainer.response_tokens={options.tokens}", "trainer.lr=1e-4", "eval.every=20"]
    command += ["tracker.wandb=disabled", "tracker.rollouts=false", "tracker.console=plain"]
    command += ["preflight.enabled=false"]  # it would refuse the controls
    done = started.rlvr(command)
    print(f"{label} seed {seed}: {started.last_line(done)}", flush=True)


def read(options: Namespace, label: str) -> list[Run]:
    """The finished runs of a label, by seed."""
    found = []
    for seed in range(options.seeds):
        out = folder_of(options, label, seed)
        if not (out / "final").is_dir():
            continue
        tokens, accuracy = 0.0, []
        curves: dict[str, list[tuple[float, float]]] = {name: [] for name in PLOTTED}
        steps = 0
        for row in read_metrics(out):
            tokens = row.get("perf/total_response_tokens", tokens)
            if steps and tokens > options.tokens and "timing_s/step" in row:
                continue  # the step in which the budget runs out, or a run made with a larger one
            steps = max(steps, row["step"] if "timing_s/step" in row else 0)
            if ACCURACY in row:
                accuracy.append((tokens, row[ACCURACY]))
            for name in PLOTTED:
                if row.get(name) is not None:
                    curves[name].append((tokens, row[name]))
        at_budget = float(np.interp(options.tokens, *zip(*accuracy, strict=True)))
        accuracy = [point for point in accuracy if point[0] < options.tokens] + [(options.tokens, at_budget)]
        found.append(Run(seed=seed, steps=steps, accuracy=accuracy, curves=curves))
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """Mean over runs and half the width of its 95% interval."""
    if len(values) < 2:
        return mean(values), float("nan")
    return mean(values), STUDENT_95[len(values)] * stdev(values) / sqrt(len(values))


def table(results: dict[str, list[Run]]) -> Iterator[str]:
    yield (
        "| algorithm | steps | accuracy, % | points gained | more than grpo | least | most "
        "| entropy | KL | length |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    usual = {run.seed: run.gain for run in results.get("grpo", [])}
    for label, runs in results.items():
        after, half = interval([100 * run.accuracy[-1][1] for run in runs])
        gain, gain_half = interval([100 * run.gain for run in runs])
        gains = [100 * run.gain for run in runs]
        others = [mean(run.last(name) for run in runs) for name in PLOTTED]
        apart = [100 * (run.gain - usual[run.seed]) for run in runs if run.seed in usual]
        more = "{:+.1f} ± {:.1f}".format(*interval(apart)) if apart and label != "grpo" else ""
        yield (
            f"| {label} | {mean(run.steps for run in runs):.0f} | {after:.1f} ± {half:.1f} "
            f"| {gain:+.1f} ± {gain_half:.1f} | {more} | {min(gains):+.1f} | {max(gains):+.1f} "
            f"| {others[0]:.3f} | {others[1]:.4f} | {others[2]:.1f} |"
        )


def plot(results: dict[str, list[Run]], path: Path) -> None:
    """Small multiples: a row per measure, presets spread over columns, no more in one than there are colours,
    controls in the last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = [label for label in results if label not in CONTROLS]
    each = -(-len(labels) // max(3, -(-len(labels) // len(COLOURS))))
    columns = [labels[i : i + each] for i in range(0, len(labels), each)]
    controls = [label for label in results if label in CONTROLS]
    columns += [controls] if controls else []
    titles = {"accuracy": "accuracy (avg@4) and its 95% interval over seeds"} | PLOTTED
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(titles), len(columns), figsize=(4.2 * len(columns), 11), sharex=True, sharey="row"
        )
        for column, members in enumerate(columns):
            for row, (measure, title) in enumerate(titles.items()):
                at = axes[row][column]
                for colour, label in zip(COLOURS, members, strict=False):
                    draw(at, [curve(run, measure) for run in results[label]], label, colour)
                if column == 0:
                    at.set_title(title)
                if row == 0:
                    at.legend(loc="lower left" if members == controls else "lower right")
            axes[-1][column].set_xlabel("response tokens sampled (thousands)")
        figure.tight_layout()
        figure.savefig(path, dpi=110)


def curve(run: Run, measure: str) -> list[tuple[float, float]]:
    return run.accuracy if measure == "accuracy" else run.curves[measure]


def draw(axes: object, curves: list[list[tuple[float, float]]], label: str, colour: str) -> None:
    """Mean over runs with its 95% band, on a common grid of tokens."""
    curves = [c for c in curves if c]
    if not curves:
        return
    start, end = max(c[0][0] for c in curves), min(c[-1][0] for c in curves)
    grid = np.linspace(start, end, 40)
    values = np.array([np.interp(grid, *zip(*c, strict=True)) for c in curves])
    centre = values.mean(0)
    axes.plot(grid / 1000, centre, color=colour, label=label, linewidth=1.6)  # type: ignore[attr-defined]
    if len(values) > 1:
        half = STUDENT_95[len(values)] * values.std(0, ddof=1) / sqrt(len(values))
        axes.fill_between(grid / 1000, centre - half, centre + half, color=colour, alpha=0.15, linewidth=0)  # type: ignore[attr-defined]


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/tiny_sft", help="start model")
    parser.add_argument("--out", default="runs/algorithms", help="where the runs go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200_000, help="response tokens of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    started.add(parser)
    parser.add_argument("--only", help="labels separated by ;")
    parser.add_argument("--table", help="where the table goes; otherwise the terminal")
    parser.add_argument("--plot", help="where the plot goes")
    options = parser.parse_args()
    runs = planned()
    if options.only:
        runs = {label: runs[label] for label in options.only.split(";")}
    started.prepare(options.jobs, options.fork)
    with ThreadPoolExecutor(options.jobs) as jobs:  # seed by seed: every algorithm has its first result early
        for seed in range(options.seeds):
            for label, overrides in runs.items():
                jobs.submit(train, options, label, overrides, seed)
    results = {label: found for label in runs if (found := read(options, label))}
    text = "\n".join(table(results))
    if options.table:
        Path(options.table).write_text(text + "\n")
    else:
        print(text)
    if options.plot:
        plot(results, Path(options.plot))


if __name__ == "__main__":
    main()
