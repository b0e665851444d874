"""Traces of a problem, and samples of a prompt that train: what RaML (2505.19815) found, on the tiny task:

    rlvr sft tiny_sft
    python benchmarks/raml.py --seeds 3

SFT: `runs/tiny_sft` works sums out in one order. It goes on with few problems, of which 1, 2, 4 or 8 traces
are there that differ in the order of their terms, at equal exposure: every run has the same steps, and each
epoch shows a problem once. `x1, wide` has one trace of eight times as many problems. Problems have all twelve
orders (no equal terms in a column). RL: GRPO on groups of 8, whose gradient is of 1, 2, 4 or all samples.

Measured on sums that no training has seen: the share of sampled answers that are right, and in SFT the loss
of one trace of each of 256 held-out problems, beside that of the traces trained on. A run that is there is
not made again: an interrupted benchmark goes on, and `--seeds` can be raised. Writes a table (Markdown).
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, permutations, product
from pathlib import Path
from random import Random
from statistics import mean

from seeds import SAMPLED, Measured, all_measured, interval, measure, only, parser, show, train_all

from rlvr_cli.data.synthetic import side
from rlvr_cli.tracking import read_metrics

COUNTS = (1, 2, 4, 8)
NARROW, HELD = 128, 256
TUNED = {f"sft, x{k}": ["data.train.path={narrow}", f"data.train.trajectories={k}"] for k in COUNTS}
TUNED["sft, x1, wide"] = ["data.train.path={wide}", "data.train.trajectories=1"]
SAMPLES = {f"rl, {n} of 8": [] if n == 8 else [f"algorithm.token_weights.samples={n}"] for n in COUNTS}
RL = ("algorithm=grpo", "algorithm/kl=none", "rollout=hf", "eval.at_start=false", "eval.at_end=false")
SFT = ("batch.examples_per_step=64", "trainer.lr=5e-4", "trainer.warmup_steps=0", "eval.stop_at=null")
SFT_STEPS = 8
"""Updates of fine-tuning for each step of RL: fewer do not teach the other orders of terms."""
LAST = 10
"""Steps over which the loss of training is averaged."""


def traces(a: int, b: int) -> list[str]:
    """Right workings of a two-digit sum that differ in the order of the terms in a column."""
    (x, y), (p, q) = ((a % 10, b % 10), (a // 10, b // 10))
    carry = (x + y) // 10
    firsts = sorted({f"{u}+{v}={x + y}" for u, v in permutations((x, y))})
    seconds = sorted({f"{u}+{v}+{w}={p + q + carry}" for u, v, w in permutations((p, q, carry))})
    return [f"{first},{second} \\boxed{{{a + b}}}" for first, second in product(firsts, seconds)]


def problems(split: str, random: Random) -> Iterator[tuple[str, str, list[str]]]:
    """(prompt, answer, its twelve traces in a random order) of sums of that split, in a random order."""
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100) if side(f"{a}+{b}=") == split]
    for a, b in random.sample(pairs, len(pairs)):
        if len(found := traces(a, b)) == 12:
            yield f"{a}+{b}=", str(a + b), random.sample(found, 12)


def write(file: Path, split: str, count: int, each: int) -> Path:
    """A file with `count` problems of `each` traces; the same, whenever it is written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for prompt, answer, found in islice(problems(split, Random(split)), count):
            for trace in found[:each]:
                out.write(json.dumps({"prompt": prompt, "answer": answer, "completion": trace}) + "\n")
    return file.resolve()


def losses(run: Path) -> Measured:
    rows = list(read_metrics(run))
    trained = [row["train/loss"] for row in rows if "train/loss" in row][-LAST:]
    return {"trained": mean(trained), "held": [row["eval/loss"] for row in rows if "eval/loss" in row][-1]}


def tune(options: Namespace) -> None:
    out = Path(options.out)
    files = {
        "narrow": write(out / "narrow.jsonl", "train", NARROW, max(COUNTS)),
        "wide": write(out / "wide.jsonl", "train", NARROW * max(COUNTS), 1),
    }
    held = write(out / "held.jsonl", "eval", HELD, 1)
    labels = {label: [each.format(**files) for each in given] for label, given in TUNED.items()}
    source = (f"eval.source.path={held}", "eval.source.split=train", "eval.every=null")
    train_all(options, "tiny_sft", labels, [*SFT, *source])


def table(start: Measured, results: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    yield "| | seeds | right | least | loss, trained | loss, held out |"
    yield "|---|---|---|---|---|---|"
    yield f"| start | | {start['right']:.3f} | | | |"
    for label, found in results.items():
        right = [each["right"] for each in found]
        both = [
            interval([each[key] for each in found]) if key in found[0] else "" for key in ("trained", "held")
        ]
        yield f"| {label} | {len(found)} | {interval(right)} | {min(right):.3f} | {' | '.join(both)} |"


def main() -> None:
    labels = {**TUNED, **SAMPLES}
    options = parser(__doc__, labels, model="runs/tiny_sft", out="runs/raml", steps=40).parse_args()
    start = measure(Path(options.model), Path(options.out) / "start_eval")
    if (tuned := only(options, TUNED)).only:
        tune(Namespace(**{**vars(tuned), "steps": SFT_STEPS * options.steps}))
    train_all(only(options, SAMPLES), "tiny_dapo", SAMPLES, [*RL, *SAMPLED])
    results = all_measured(options, lambda label, run: losses(run) if label in TUNED else {})
    show(options, table(start, results), {"start": start, **results})


if __name__ == "__main__":
    main()
