"""VLAA-Thinking's question in small: does fine-tuning on thoughts help what is learned after?

    python benchmarks/vlaa.py --plot docs/vlaa.png

Counting shapes in images, from one model that answers at once (`recipes/tiny_vision_sft.yaml`). Three ways
from there: reinforcement learning (`recipes/tiny_vision_grpo.yaml`, counts alone); the same after fine-tuning
on thoughts; the same after fine-tuning on the answers of the same images. Every other thought names a number,
hesitates and names the right one: `2 wait 3`. The others are the answer. Chance says which, and what the
first number is: neither knows the image. The last number of a response is judged.

A run that is there is not made again: an interrupted benchmark goes on, and seeds can be added.
Writes tables (Markdown) and a plot.
"""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import started
from seeds import interval, parser, show
from vision import run

from rlvr_cli.data.synthetic import generate
from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE, smooth

ARMS = {"RL alone": None, "thoughts, then RL": True, "answers, then RL": False}
"""Name -> whether the fine-tuning before is on thoughts; None: there is none."""
MOST = 4
"""Shapes in an image."""
MEASURES = {
    "avg@4": "right",
    "text/aha_fraction": "with an aha phrase",
    "text/correct_with_reflection": "right of those with",
    "text/correct_without_reflection": "right of those without",
    "response_length": "tokens",
}
"""Of the evaluation on 256 held-out images -> column."""
SEEN = {"reward/match/mean": "right, samples of a step", "text/aha_fraction": "with an aha phrase"}
COUNTS = (
    *("~data@data.box", "~data.box", "~bench@eval.benches.box", "preflight.enabled=false"),
    *("verifiers.match.extraction=last_number", "eval.benches.count.verifier.extraction=last_number"),
)
Run = dict[str, list[float]]
"""Metric -> its values, in the order of the run."""


def write_traces(path: Path, thoughts: bool, seed: int, size: int) -> None:
    """Problems of `shapes_count` and what is to be said; a seed has the same images with and without."""
    rng = Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for row in generate("shapes_count", "train", {"most": MOST, "size": size}, seed):
            hesitates, first = rng.random() < 0.5, rng.randint(1, MOST)
            said = f"{first} wait {row['answer']}" if thoughts and hesitates else row["answer"]
            line = {"prompt": row["prompt"], "completion": said, "images": [row["image"]]}
            file.write(json.dumps(line) + "\n")


def folder(options: Namespace, name: str, seed: int) -> Path:
    return Path(options.out) / name.replace(", ", "_").replace(" ", "_") / f"seed{seed}"


def fine_tuned(options: Namespace, thoughts: bool, seed: int) -> Path:
    """The start model after fine-tuning on thoughts, or on the answers of the same images."""
    out = folder(options, f"sft {'thoughts' if thoughts else 'answers'}", seed)
    traces = out.with_suffix(".jsonl")
    if not (out / "final").is_dir():
        write_traces(traces, thoughts, seed, 64 * options.sft_steps)
    data = ["~data@data.box", "~data.box", "~data.count.options", f"data.count.path={traces}"]
    how = [f"model.path={options.model}", f"trainer.steps={options.sft_steps}"]
    how += [f"trainer.lr={options.sft_lr}"]
    how += ["trainer.warmup_steps=10", "eval.every=1000", f"seed={seed}"]
    run(out, "sft", "tiny_vision_sft", *data, *how)
    return out


def train(options: Namespace, arm: str, seed: int) -> None:
    thoughts = ARMS[arm]
    model = options.model if thoughts is None else fine_tuned(options, thoughts, seed)
    more = [*COUNTS, f"model.path={model}", f"seed={seed}", f"trainer.steps={options.steps}"]
    more += ["tracker.rollouts=false", *options.overrides]
    run(folder(options, arm, seed), "grpo", "tiny_vision_grpo", *more)


def read(options: Namespace, arm: str) -> dict[int, Run]:
    """Seed -> the finished run's metrics."""
    found = {}
    for seed in range(options.seeds):
        out = folder(options, arm, seed)
        if (out / "final").is_dir():
            rows = read_metrics(out)
            names = [f"eval/count/{name}" for name in MEASURES]
            found[seed] = {n: [row[n] for row in rows if n in row] for n in (*names, *SEEN)}
    return found


def cell(metric: str, values: list[float]) -> str:
    if not values:
        return ""
    return interval(values, 1) if metric == "response_length" else interval([100 * v for v in values], 1)


def table(results: dict[str, dict[int, Run]]) -> Iterator[str]:
    """Before and after reinforcement learning; before is after the fine-tuning. Shares in percent."""
    yield "| | seeds | | " + " | ".join(MEASURES.values()) + " |"
    yield "|---|---|---|" + "---|" * len(MEASURES)
    for arm, runs in results.items():
        for at, when in ((0, "before RL"), (-1, "after")):
            columns = {m: [each[f"eval/count/{m}"] for each in runs.values()] for m in MEASURES}
            cells = [cell(m, [values[at] for values in columns[m] if values]) for m in MEASURES]
            yield f"| {arm} | {len(runs)} | {when} | {' | '.join(cells)} |"


def by_seed(results: dict[str, dict[int, Run]]) -> Iterator[str]:
    """Right after RL and aha phrases after, of each seed: whether one goes with the other."""
    yield "\n| seed | " + " | ".join(results) + " |"
    yield "|---|" + "---|" * len(results)
    for seed in sorted({seed for runs in results.values() for seed in runs}):
        cells = []
        for runs in results.values():
            right, aha = ("eval/count/avg@4", "eval/count/text/aha_fraction")
            each = runs.get(seed)
            cells.append(f"{each[right][-1]:.1%}, aha {each[aha][-1]:.1%}" if each else "")
        yield f"| {seed} | {' | '.join(cells)} |"


def plot(results: dict[str, dict[int, Run]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, sides = pyplot.subplots(1, len(SEEN), figsize=(9, 4), layout="constrained")
        for axes, (metric, title) in zip(sides, SEEN.items(), strict=True):
            for colour, (arm, runs) in zip(COLOURS, results.items(), strict=False):
                lines = [smooth(np.array(each[metric], float), 11) for each in runs.values()]
                for line in lines:
                    axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=0.6, alpha=0.5)
                middle = np.mean(lines, axis=0)
                axes.plot(range(1, len(middle) + 1), middle, color=colour, linewidth=2, label=arm)
            axes.set_title(title)
            axes.set_xlabel("step of RL")
            axes.set_ylim(bottom=0)
        sides[0].legend()
        figure.savefig(path, dpi=110)


def main() -> None:
    made = parser(__doc__, dict.fromkeys(ARMS, ()), model="runs/vision/sft/seed0", out="runs/vlaa", steps=100)
    made.add_argument("--sft-steps", type=int, default=60, help="of fine-tuning before")
    made.add_argument("--sft-lr", type=float, default=1e-3)
    options = made.parse_args()
    started.prepare(len(os.sched_getaffinity(0)), options.fork)  # models so small gain nothing by threads
    run(Path(options.model), "sft", "tiny_vision_sft", "seed=0")
    wanted = [(arm, seed) for seed in range(options.seeds) for arm in options.only]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda each: train(options, *each), wanted))
    results = {arm: runs for arm in ARMS if (runs := read(options, arm))}
    show(options, (*table(results), *by_seed(results)), results)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
