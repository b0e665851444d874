"""Whether a searcher learns to gain on plain retrieval: `rlvr sft tiny_s3_sft`, then this file.

`recipes/tiny_s3.yaml` with GRPO and with PPO, several seeds each. The start model writes the form of a search
and asks at random; the gain (Gain Beyond RAG) is measured on questions that no training has seen, 8 episodes
each. Of these plain retrieval answers a few by chance, which no search can gain on. A run that is there is
not made again: an interrupted benchmark goes on, and `--seeds` can be raised.

Writes a table (Markdown) and a plot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE

RUNS = {
    "grpo": ["algorithm=grpo", "algorithm/kl=none"],
    "ppo": ["algorithm=ppo", "batch.group_size=1", "batch.prompts_per_step=128"],
}
"""As many episodes a step."""
GAIN = "eval/two_hop/score"
ENOUGH = 0.6
Curve = list[tuple[float, float]]
"""(step, gain) of each evaluation."""


def folder_of(options: Namespace, label: str, seed: int) -> Path:
    return Path(options.out) / label / f"seed{seed}"


def train(options: Namespace, label: str, seed: int) -> None:
    """One run, unless it has been made."""
    out = folder_of(options, label, seed)
    if (out / "final").is_dir():
        return
    command = [sys.executable, "-m", "rlvr_cli", "train", "tiny_s3", *RUNS[label], *options.overrides]
    command += [f"model.path={options.model}", f"seed={seed}", f"out={out}", f"trainer.steps={options.steps}"]
    command += ["eval.every=10", "tracker.wandb=disabled", "tracker.rollouts=false", "tracker.console=plain"]
    command += ["preflight.enabled=false"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.jobs))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(f"s3 {label} seed {seed}: {(done.stderr.strip().splitlines() or ['done'])[-1]}", flush=True)


def read(options: Namespace, label: str) -> list[Curve]:
    """The gain of the finished runs."""
    curves = []
    for seed in range(options.seeds):
        out = folder_of(options, label, seed)
        if (out / "final").is_dir():
            curves.append([(row["step"], row[GAIN]) for row in read_metrics(out) if GAIN in row])
    return curves


def table(results: dict[str, list[Curve]]) -> Iterator[str]:
    yield f"| algorithm | seeds | gain before | gain after | least | most | at least {ENOUGH} |"
    yield "|---|---|---|---|---|---|---|"
    for label, curves in results.items():
        first, last = ([curve[n][1] for curve in curves] for n in (0, -1))
        enough = sum(value >= ENOUGH for value in last)
        yield (
            f"| {label} | {len(curves)} | {mean(first):.2f} | {mean(last):.2f} "
            f"| {min(last):.2f} | {max(last):.2f} | {enough} of {len(last)} |"
        )


def plot(results: dict[str, list[Curve]], path: Path) -> None:
    """Gain by step, a line for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for number, (label, curves) in enumerate(results.items()):
            for seed, curve in enumerate(curves):
                colour = COLOURS[number % len(COLOURS)]
                axes.plot(*zip(*curve, strict=True), color=colour, label=label if seed == 0 else None)
        axes.axhline(ENOUGH, color="0.6", linewidth=0.8)
        axes.set_xlabel("step")
        axes.set_ylabel("Gain Beyond RAG, held-out questions")
        axes.legend()
        figure.savefig(path)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/tiny_s3_sft", help="model folder or run directory")
    parser.add_argument("--out", default="runs/s3", help="where the runs go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="LABEL")
    parser.add_argument("--plot", type=Path, help="write the plot there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write gains there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    wanted = [(label, seed) for seed in range(options.seeds) for label in options.only]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda each: train(options, *each), wanted))
    results = {label: curves for label in options.only if (curves := read(options, label))}
    print("\n".join(table(results)))
    if options.plot:
        plot(results, options.plot)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
