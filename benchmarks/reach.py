"""How many sampled tokens it takes to come near a teacher: by its opinion of them, and by verdicts.

    rlvr sft tiny_sft
    rlvr sft tiny_teacher
    python benchmarks/reach.py

All runs start from `runs/tiny_sft` and learn two-digit sums, each with the batch and rate that did best of
those tried (docs/benchmarks.md says which). Every few steps held-out sums are solved; the tokens of the first
evaluation that reaches nine tenths of the teacher's share of right sums are what it took. A run that is
there is not made again: an interrupted benchmark goes on, and `--seeds` can be raised.

Writes a table (Markdown).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from seeds import SAMPLED, finished, interval, measure, only, parser, show, train_all

from rlvr_cli.tracking import read_metrics

ACCURACY = "eval/addition/avg@4"
LINE = ("trainer.schedule=cosine", "eval.every=20")
SINGLE = ("batch.group_size=1", *LINE)
TAUGHT = {
    "gkd": ["algorithm=gkd", *SINGLE, "batch.prompts_per_step=4", "trainer.lr=2e-4", "trainer.steps=600"],
}
VERIFIED = {
    "ppo": ["algorithm=ppo", *SINGLE, "batch.prompts_per_step=32", "trainer.lr=2e-4"],
    "grpo": ["algorithm=grpo", "algorithm/kl=none", *LINE, "batch.prompts_per_step=8", "trainer.lr=2e-4"],
}
SHARE = 0.9
Curve = list[tuple[float, float]]
"""(sampled response tokens so far, share right) of each evaluation."""


def read(options: Namespace, label: str) -> list[Curve]:
    """The finished runs of a label, by seed."""
    found = []
    for out in finished(options, label):
        tokens, curve = 0.0, []
        for row in read_metrics(out):
            tokens = row.get("perf/total_response_tokens", tokens)
            if ACCURACY in row:
                curve.append((tokens, row[ACCURACY]))
        found.append(curve)
    return found


def took(curve: Curve, goal: float) -> float | None:
    """Tokens of the first evaluation at the goal; None where none is."""
    return next((tokens for tokens, right in curve if right >= goal), None)


def table(results: Mapping[str, Sequence[Curve]], goal: float) -> Iterator[str]:
    yield f"| | seeds | reach {goal:.3f} | tokens until then | least | most | right at last |"
    yield "|---|---|---|---|---|---|---|"
    for label, curves in results.items():
        needed = [tokens / 1e3 for curve in curves if (tokens := took(curve, goal)) is not None]
        cells = (
            [f"{interval(needed, 0)} k", f"{min(needed):.0f} k", f"{max(needed):.0f} k"]
            if needed
            else [""] * 3
        )
        last = mean(curve[-1][1] for curve in curves)
        yield f"| {label} | {len(curves)} | {len(needed)} | {' | '.join(cells)} | {last:.3f} |"


def main() -> None:
    made = parser(__doc__, {**TAUGHT, **VERIFIED}, model="runs/tiny_sft", out="runs/reach", steps=400)
    made.add_argument("--teacher", default="runs/tiny_teacher", help="model folder or run directory")
    options = made.parse_args()
    teacher = measure(Path(options.teacher), Path(options.out) / "teacher_eval")["right"]
    print(f"The teacher has {teacher:.3f} right.", flush=True)
    every = [*SAMPLED, "rollout=hf", "eval.at_start=false", "eval.at_end=true"]
    train_all(only(options, TAUGHT), "tiny_distill", TAUGHT, [*every, f"teacher.path={options.teacher}"])
    train_all(only(options, VERIFIED), "tiny_dapo", VERIFIED, every)
    results = {label: curves for label in options.only if (curves := read(options, label))}
    show(options, table(results, SHARE * teacher), {"teacher": teacher, **results})


if __name__ == "__main__":
    main()
