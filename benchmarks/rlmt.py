"""What a reward model's reward does to a hidden gold reward, with and without thoughts:

    rlvr sft tiny_rlmt_sft && rlvr reward_model tiny_reward_model
    rlvr sft tiny_rlmt_sft data@data.train=keyword_answers name=tiny_rlmt_control_sft
    python benchmarks/rlmt.py

`recipes/tiny_rlmt.yaml` with groups, a critic and pairs of the run's own samples, and its control that does
not think; several seeds each, as many samples a step. The gold reward is what the pairs of the reward model
were compared by; it has no say. A run that is there is not made again: an interrupted benchmark goes on, and
`--seeds` can be raised.

Writes a table (Markdown) and a plot.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from seeds import SAMPLED, finished, interval, parser, train_all

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.journal import read_rows
from rlvr_cli.tracking.plots import COLOURS, STYLE

SINGLE = ("batch.group_size=1", "batch.prompts_per_step=128")
RUNS = {
    "grpo": ["algorithm=grpo", "algorithm/kl=none"],
    "grpo, control": ["algorithm=grpo", "algorithm/kl=none", "model.path=runs/tiny_rlmt_control_sft"],
    "ppo": ["algorithm=ppo", *SINGLE],
    "online_dpo": ["algorithm=online_dpo"],
}
PROXY, GOLD = "audit/first_score", "audit/score"
WINDOW = 5


@dataclass(kw_only=True)
class Run:
    """Means of a step's samples, by step."""

    proxy: list[float]
    gold: list[float]
    tokens: float
    told: int | None
    """Step after which the diagnosis said that the two had parted."""

    def best(self) -> tuple[int, float]:
        """(last step, gold) of the window whose gold reward is highest."""
        windows = [mean(self.gold[at : at + WINDOW]) for at in range(len(self.gold) - WINDOW + 1)]
        best = max(range(len(windows)), key=windows.__getitem__)
        return best + WINDOW, windows[best]


def read(options: Namespace, label: str) -> list[Run]:
    """The finished runs of a label, by seed."""
    found = []
    for out in finished(options, label):
        rows = [row for row in read_metrics(out) if GOLD in row]
        told = [
            row["step"] for row in read_rows(out / "events.jsonl") if row.get("rule") == "over_optimisation"
        ]
        found.append(
            Run(
                proxy=[row[PROXY] for row in rows],
                gold=[row[GOLD] for row in rows],
                tokens=rows[-1]["perf/total_response_tokens"],
                told=min(told, default=None),
            )
        )
    return found


def table(results: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    yield "| | seeds | gold, first | best | at step | last | reward model, first and last | told | tokens |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for label, runs in results.items():
        best = [run.best() for run in runs]
        told = [run.told for run in runs if run.told is not None]
        steps = f", after step {min(told)} to {max(told)}" if told else ""
        yield (
            f"| {label} | {len(runs)} | {interval([run.gold[0] for run in runs])} "
            f"| {interval([value for _, value in best])} "
            f"| {min(step for step, _ in best)} to {max(step for step, _ in best)} "
            f"| {interval([mean(run.gold[-WINDOW:]) for run in runs])} "
            f"| {mean(run.proxy[0] for run in runs):.2f} to {mean(run.proxy[-1] for run in runs):.2f} "
            f"| {len(told)} of {len(runs)}{steps} | {mean(run.tokens for run in runs) / 1e3:,.0f} k |"
        )


def plot(results: Mapping[str, Sequence[Run]], path: Path) -> None:
    """Reward model's and gold reward by step, a line for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, sides = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True)
        for number, (label, runs) in enumerate(results.items()):
            for seed, run in enumerate(runs):
                for axes, values in zip(sides, (run.proxy, run.gold), strict=True):
                    axes.plot(
                        range(1, len(values) + 1),
                        values,
                        color=COLOURS[number % len(COLOURS)],
                        linewidth=0.9,
                        label=label if seed == 0 else None,
                    )
        for axes, title in zip(sides, ("reward model, of the answer", "hidden gold reward"), strict=True):
            axes.set_title(title)
            axes.set_xlabel("step")
        sides[1].axhline(0, color="0.6", linewidth=0.8)
        sides[0].legend()
        figure.savefig(path)


def main() -> None:
    options = parser(__doc__, RUNS, model="runs/tiny_rlmt_sft", out="runs/rlmt", steps=40).parse_args()
    train_all(options, "tiny_rlmt", RUNS, [*SAMPLED, "rollout=hf"])
    results = {label: runs for label in options.only if (runs := read(options, label))}
    print("\n".join(table(results)))
    if options.plot:
        plot(results, options.plot)
    if options.json:
        found = {label: [vars(run) for run in runs] for label, runs in results.items()}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
