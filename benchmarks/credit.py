"""Who was to blame, in long responses of which one token decides, by sampled tokens:

    rlvr sft tiny_fork_sft
    python benchmarks/credit.py

GRPO gives all tokens of a response one advantage; SPO-chain values segments by sampling on from their ends,
SPO-tree by the leaves below them. Continuations count: all labels are compared where the same number of
tokens has been sampled (`--tokens`), and take as many prompts a step as make about 14,600 tokens of it, so
that all make as many updates, with one learning rate (`--lr`: another). The rest is recipes/tiny_fork.yaml.

A run that is there is not made again: an interrupted benchmark goes on, and `--seeds` can be raised. Writes
a table (Markdown): accuracy on held-out problems at half and at all of the tokens, and the share of tokens
that only measured values.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from seeds import SAMPLED, finished, interval, parser, train_all

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE

ACCURACY, TOKENS = "eval/fork/avg@4", "perf/total_response_tokens"
PLAIN = ("algorithm/kl=none",)
CHAIN = ("algorithm=spo", *PLAIN, "batch.prompts_per_step=19", "batch.group_size=2")
CONTINUED = ("algorithm.advantage.interval=20", "algorithm.advantage.samples=4")
TREE = ("algorithm=spo_tree", *PLAIN, "algorithm.advantage.tokens=20")
ALL = "algorithm/token_weights=all"
LABELS = {  # about 14,600 sampled tokens a step each
    "grpo": ["algorithm=grpo", *PLAIN],
    "grpo, uncertain tokens": ["algorithm=grpo", *PLAIN, "algorithm/token_weights=low_probability"],
    "spo": [*CHAIN, *CONTINUED],
    "spo, fixed": [*CHAIN, *CONTINUED, "algorithm.advantage.fixed=true"],
    "spo_tree": [*TREE, "batch.prompts_per_step=55"],
    "spo_tree, all tokens": [*TREE, "batch.prompts_per_step=55", ALL],
    "spo_tree, 2-4-1, all tokens": [
        *(*TREE, "batch.prompts_per_step=43", ALL, "algorithm.advantage.branching=[2,4,1]"),
    ],
}


class Run:
    """What one training run left in its metrics, up to the budget."""

    def __init__(self, folder: Path, budget: int) -> None:
        rows = list(read_metrics(folder))
        self.steps = sum(row.get(TOKENS, budget + 1) <= budget for row in rows)
        spent, self.accuracy = 0.0, []
        for row in rows:
            spent = row.get(TOKENS, spent)
            if ACCURACY in row:
                self.accuracy.append((spent, row[ACCURACY]))
        states = sum(row.get("perf/state_tokens", 0.0) for row in rows)
        self.measuring = states / spent

    def at(self, tokens: float) -> float:
        return float(np.interp(tokens, *zip(*self.accuracy, strict=True)))


def table(results: Mapping[str, Sequence[Run]], budget: int) -> Iterator[str]:
    yield f"| | seeds | steps | at {budget // 2:,} tokens | at {budget:,} tokens | least | only measuring |"
    yield "|---|---|---|---|---|---|---|"
    for label, runs in results.items():
        half, whole = ([run.at(tokens) for run in runs] for tokens in (budget / 2, budget))
        yield (
            f"| {label} | {len(runs)} | {mean(run.steps for run in runs):.0f} | {interval(half)} "
            f"| {interval(whole)} | {min(whole):.3f} | {mean(run.measuring for run in runs):.2f} |"
        )


def plot(results: Mapping[str, Sequence[Run]], budget: int, path: Path) -> None:
    """Accuracy over sampled tokens: the mean over seeds, between the least and the most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    grid = np.linspace(0, budget, 41)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7, 4.2))
        for colour, (label, runs) in zip(COLOURS, results.items(), strict=False):
            values = np.array([[run.at(tokens) for tokens in grid] for run in runs])
            axes.plot(grid / 1000, values.mean(0), color=colour, label=label, linewidth=1.6)
            axes.fill_between(
                grid / 1000, values.min(0), values.max(0), color=colour, alpha=0.12, linewidth=0
            )
        axes.set_xlabel("sampled tokens (thousands), those that measure values included")
        axes.set_ylabel("right, held-out problems")
        axes.legend(loc="upper left")
        figure.tight_layout()
        figure.savefig(path, dpi=110)


def train(options: Namespace) -> None:
    more = [f"trainer.response_tokens={options.tokens}", f"eval.every={options.every}", *SAMPLED]
    more += ["eval.at_start=true", "eval.at_end=true", *([f"trainer.lr={options.lr}"] if options.lr else [])]
    train_all(options, "tiny_fork", LABELS, more)


def main() -> None:
    made = parser(__doc__, LABELS, model="runs/tiny_fork_sft", out="runs/credit", steps=10_000)
    made.add_argument("--tokens", type=int, default=1_000_000, help="sampled tokens of each run")
    made.add_argument("--every", type=int, default=10, help="steps between evaluations")
    made.add_argument("--lr", help="the learning rate of all labels")
    options = made.parse_args()
    train(options)
    results = {
        label: runs
        for label in options.only
        if (runs := [Run(folder, options.tokens) for folder in finished(options, label)])
    }
    print("\n".join(table(results, options.tokens)))
    if options.json:
        found = {label: [run.accuracy for run in runs] for label, runs in results.items()}
        options.json.write_text(json.dumps(found, indent=1))
    if options.plot:
        plot(results, options.tokens, options.plot)


if __name__ == "__main__":
    main()
