"""Preferences, a critic, groups and a teacher, from one start and on as many samples each:

    rlvr sft tiny_sft
    rlvr sft tiny_teacher
    python benchmarks/signals.py

All runs start from `runs/tiny_sft` and learn two-digit sums for the same number of steps. Those that
sample draw 256 answers a step; offline DPO gets pairs of a right and a wrong answer that the start model
has drawn, as many as the others draw while they train (a run with a learning rate of 0 draws them).
Distillation reads a model that can add, and no verdict. Each final model is measured on sums that no
training has seen.

A run that is there is not made again: an interrupted benchmark goes on, and `--seeds` can be raised. Writes a
table (Markdown), and before it the example of three answers of "Is DPO Superior to PPO for LLM Alignment?"
(2404.10719), computed exactly.
"""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean

from seeds import (
    SAMPLED,
    Measured,
    all_measured,
    finished,
    folder_of,
    interval,
    measure,
    only,
    parser,
    show,
    train_all,
)

from rlvr_cli.tracking import read_metrics, read_records

HERE = ("rollout=hf", "eval.at_start=false", "eval.at_end=false")
DRAWN = {"drawn": ["algorithm=grpo", "algorithm/kl=none", "trainer.lr=1e-30", *HERE]}
"""Samples of the start model: a rate at which no weight changes."""
SINGLE = ("batch.group_size=1", "batch.prompts_per_step=256")
ONLINE = {
    "grpo": ["algorithm=grpo", "algorithm/kl=none", *HERE],
    "ppo": ["algorithm=ppo", *SINGLE, *HERE],
    "online_dpo": ["algorithm=online_dpo", "algorithm.advantage.pairing=min", *HERE],
}
OFFLINE = {
    "dpo": ["algorithm=dpo"],
    "dpo_sft": ["algorithm=dpo", "algorithm.sft_coef=1"],
}
TAUGHT = {
    "opd": ["algorithm=opd", *SINGLE, *HERE, "trainer.lr=2e-4"],
    "gkd": ["algorithm=gkd", *SINGLE, *HERE, "trainer.lr=2e-4"],
}
BETA = 0.1


def three_answers() -> Iterator[str]:
    """Reference (1/2, 1/2, 0), the one pair y1 over y2: policies of one DPO loss."""
    yield "| policy | DPO loss | KL to the reference |"
    yield "|---|---|---|"
    for rest in (0.0, 0.5, 0.9):
        policy = [0.9 * (1 - rest), 0.1 * (1 - rest), rest]
        loss = math.log1p(math.exp(-BETA * math.log(policy[0] / policy[1])))
        kl = math.inf if rest else sum(p * math.log(p / 0.5) for p in policy[:2])
        yield f"| ({', '.join(f'{p:g}' for p in policy)}) | {loss:.4f} | {kl:.4f} |"


def pairs_of(run: Path) -> list[dict[str, str]]:
    """A right and a wrong sample of each group that has both; of those that ended by themselves."""
    groups: dict[tuple[int, int], dict[bool, str]] = {}
    prompts: dict[tuple[int, int], str] = {}
    for row in read_records(run):
        if row["finished"] and row["correct"] is not None:
            key = row["step"], row["index"]
            prompts[key] = row["prompt"]
            groups.setdefault(key, {}).setdefault(bool(row["correct"]), row["response"].removesuffix("<eos>"))
    return [
        {"prompt": prompts[key], "chosen": found[True], "rejected": found[False]}
        for key, found in groups.items()
        if len(found) == 2
    ]


def tokens_of(run: Path) -> float:
    """Response tokens of the whole run: sampled, or of pairs trained on."""
    rows = list(read_metrics(run))
    sampled = [row["perf/total_response_tokens"] for row in rows if "perf/total_response_tokens" in row]
    return sampled[-1] if sampled else sum(row.get("train/tokens", 0.0) for row in rows)


def table(start: Measured, results: Mapping[str, list[Measured]]) -> Iterator[str]:
    yield "| | seeds | right | least | no answer | tokens |"
    yield "|---|---|---|---|---|---|"
    yield f"| start | | {start['right']:.3f} | | {start['none']:.4f} | |"
    for label, found in results.items():
        right = [each["right"] for each in found]
        none, tokens = (mean(each[key] for each in found) for key in ("none", "tokens"))
        yield (
            f"| {label} | {len(found)} | {interval(right)} | {min(right):.3f} | {none:.4f} "
            f"| {tokens / 1e3:,.0f} k |"
        )


def draw(options: Namespace) -> Path:
    """The pairs of each seed, once; their path, by seed."""
    drawing = Namespace(**{**vars(options), "only": list(DRAWN)})
    train_all(drawing, "tiny_dapo", DRAWN, ["preflight.enabled=false"])
    for run in finished(options, "drawn"):
        pairs = pairs_of(run)
        (run / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        print(f"{run}: {len(pairs)} pairs", flush=True)
    return folder_of(options, "drawn", 0).parent / "seed${seed}" / "pairs.jsonl"


def main() -> None:
    labels = {**ONLINE, **OFFLINE, **TAUGHT}
    made = parser(__doc__, labels, model="runs/tiny_sft", out="runs/signals", steps=40)
    made.add_argument("--teacher", default="runs/tiny_teacher", help="model folder or run directory")
    options = made.parse_args()
    print("\n".join(three_answers()), flush=True)
    start = measure(Path(options.model), Path(options.out) / "start_eval")
    train_all(only(options, ONLINE), "tiny_dapo", ONLINE, SAMPLED)
    train_all(only(options, TAUGHT), "tiny_distill", TAUGHT, [*SAMPLED, f"teacher.path={options.teacher}"])
    if (offline := only(options, OFFLINE)).only:
        train_all(offline, "tiny_dpo", OFFLINE, [f"data.train.path={draw(options)}", "eval.every=null"])
    results = all_measured(options, lambda _, run: {"tokens": tokens_of(run)})
    show(options, table(start, results), {"start": start, **results})


if __name__ == "__main__":
    main()
