"""Whether a searcher learns to gain on plain retrieval: `rlvr sft tiny_s3_sft`, then this file.

`recipes/tiny_s3.yaml` with GRPO and with PPO, several seeds each. The start model writes the form of a search
and asks at random; the gain (Gain Beyond RAG) is measured on questions that no training has seen, 8 episodes
each. Of these plain retrieval answers a few by chance, which no search can gain on. A run that is there is
not made again: an interrupted benchmark goes on, and `--seeds` can be raised.

Writes a table (Markdown) and a plot.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from seeds import SAMPLED, finished, parser, show, train_all

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


def read(options: Namespace, label: str) -> list[Curve]:
    """The gain of the finished runs."""
    return [
        [(row["step"], row[GAIN]) for row in read_metrics(out) if GAIN in row]
        for out in finished(options, label)
    ]


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
    options = parser(__doc__, RUNS, model="runs/tiny_s3_sft", out="runs/s3", steps=40).parse_args()
    train_all(options, "tiny_s3", RUNS, [*SAMPLED, "eval.every=10"])
    results = {label: curves for label in options.only if (curves := read(options, label))}
    show(options, table(results), results)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
