"""Who was to blame, in long responses of which one token decides, by sampled tokens:

    rlvr sft tiny_fork_sft data.train.options={before:40,after:8} eval.source.options={before:40,after:8}
    python benchmarks/credit.py --before 40 --fork

GRPO gives all tokens of a response one advantage; SPO-chain values segments by sampling on from their ends,
SPO-tree by the leaves below them. Continuations count: all labels are compared where the same number of
tokens has been sampled (`--tokens`), and take as many prompts a step as make about 14,600 tokens of it, so
that all make as many updates. `--before`: letters before the box, of 48, as the start model has learned them.
Each label has its own learning rate, the best of `--rates` by the mean accuracy over the budget of a run
whose seed is not reported. The rest is recipes/tiny_fork.yaml.

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

ACCURACY, TOKENS = "eval/fork/avg@", "perf/total_response_tokens"
PLAIN = ("algorithm/kl=none",)
ALL = "algorithm/token_weights=all"
CHAIN = ("algorithm=spo", *PLAIN, "algorithm.advantage.samples=4")
TREE = ("algorithm=spo_tree", *PLAIN, "algorithm.advantage.tokens=20")
HALVES = "algorithm.advantage.interval=25"
EIGHT, TWO = "batch.group_size=8", "batch.group_size=2"
LABELS = {  # about 14,600 sampled tokens a step each
    "grpo": ["algorithm=grpo", *PLAIN],
    "grpo, uncertain tokens": ["algorithm=grpo", *PLAIN, "algorithm/token_weights=low_probability"],
    "spo": [*CHAIN, HALVES, EIGHT, "batch.prompts_per_step=9"],
    "spo, groups of 2": [*CHAIN, "algorithm.advantage.interval=20", TWO, "batch.prompts_per_step=19"],
    "spo_tree": [*TREE, "batch.prompts_per_step=55"],
    "spo_tree, all tokens": [*TREE, "batch.prompts_per_step=55", ALL],
    "spo_tree, 2-4-1, all tokens": [
        *(*TREE, "batch.prompts_per_step=43", ALL, "algorithm.advantage.branching=[2,4,1]"),
    ],
}
STEPS = 48
"""Letters of a response."""
SWEPT = 100
"""The seed of the runs by which learning rates are chosen."""


class Run:
    """What one training run left in its metrics, up to the budget."""

    def __init__(self, folder: Path, budget: int) -> None:
        rows = list(read_metrics(folder))
        self.steps = sum(row.get(TOKENS, budget + 1) <= budget for row in rows)
        spent, self.accuracy = 0.0, []
        for row in rows:
            spent = row.get(TOKENS, spent)
            self.accuracy += [(spent, row[name]) for name in row if name.startswith(ACCURACY)]
        states = sum(row.get("perf/state_tokens", 0.0) for row in rows)
        self.measuring = states / spent

    def at(self, tokens: float) -> float:
        return float(np.interp(tokens, *zip(*self.accuracy, strict=True)))


def table(results: Mapping[str, Sequence[Run]], budget: int, rates: Mapping[str, str]) -> Iterator[str]:
    at = f"at {budget // 2:,} tokens | at {budget:,} tokens"
    yield f"| | rate | seeds | steps | {at} | least | only measuring |"
    yield "|---|---|---|---|---|---|---|---|"
    for label, runs in results.items():
        half, whole = ([run.at(tokens) for run in runs] for tokens in (budget / 2, budget))
        steps, measuring = mean(run.steps for run in runs), mean(run.measuring for run in runs)
        yield (
            f"| {label} | {rates[label]} | {len(runs)} | {steps:.0f} | {interval(half)} | {interval(whole)} "
            f"| {min(whole):.3f} | {measuring:.2f} |"
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


def swept(label: str, rate: str) -> str:
    return f"{label}, rate {rate}"


def train(options: Namespace) -> dict[str, str]:
    """All runs; the learning rate of each label."""
    size, k = options.problems
    place = f"before:{options.before},after:{STEPS - options.before}"
    more = [f"data.train.options={{{place}}}", f"eval.benches.fork.source.options={{size:{size},{place}}}"]
    more += [f"eval.benches.fork.k={k}", f"trainer.response_tokens={options.tokens}", *SAMPLED]
    more += [f"eval.every={options.every}", "eval.at_start=true", "eval.at_end=true"]
    tried = {
        swept(label, rate): [*LABELS[label], f"trainer.lr={rate}"]
        for label in options.only
        for rate in options.rates
    }
    if len(options.rates) > 1:
        alone = Namespace(**vars(options) | {"only": list(tried), "seeds": 1})
        train_all(alone, "tiny_fork", tried, [*more, f"seed={SWEPT}"])
    rates = {label: best(options, label) for label in options.only}
    labels = {label: [*LABELS[label], f"trainer.lr={rate}"] for label, rate in rates.items()}
    train_all(options, "tiny_fork", labels, more)
    return rates


def best(options: Namespace, label: str) -> str:
    """Of the learning rates: the one with the highest mean accuracy over the budget."""
    if len(options.rates) == 1:
        return str(options.rates[0])
    grid = np.linspace(0, options.tokens, 41)

    def over_the_budget(rate: str) -> float:
        runs = [Run(folder, options.tokens) for folder in finished(options, swept(label, rate))]
        return mean(run.at(tokens) for run in runs[:1] for tokens in grid) if runs else 0.0

    return max(map(str, options.rates), key=over_the_budget)


def main() -> None:
    made = parser(__doc__, LABELS, model="runs/tiny_fork_sft", out="runs/credit", steps=10_000)
    made.add_argument("--tokens", type=int, default=1_000_000, help="sampled tokens of each run")
    made.add_argument("--every", type=int, default=10, help="steps between evaluations")
    made.add_argument("--before", type=int, default=24, help=f"letters before the box, of {STEPS}")
    made.add_argument("--rates", nargs="+", default=["1e-3", "3e-3"], help="learning rates that are tried")
    made.add_argument(
        "--problems",
        type=int,
        nargs=2,
        default=(256, 4),
        metavar=("N", "K"),
        help="held out; samples of each",
    )
    options = made.parse_args()
    rates = train(options)
    results = {
        label: runs
        for label in options.only
        if (runs := [Run(folder, options.tokens) for folder in finished(options, label)])
    }
    print("\n".join(table(results, options.tokens, rates)))
    if options.json:
        found = {label: [run.accuracy for run in runs] for label, runs in results.items()}
        options.json.write_text(json.dumps(found, indent=1))
    if options.plot:
        plot(results, options.tokens, options.plot)


if __name__ == "__main__":
    main()
