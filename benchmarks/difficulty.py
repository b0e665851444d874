"""What choosing problems by difficulty saves: `python benchmarks/difficulty.py`.

A task of three difficulties: additions of one, two and four digits in one file, a third of the rows each. A
start model that has been taught the first two (`rlvr sft`, once) solves the first mostly, the second now and
then and the third never. `rlvr profile` measures each problem. Then runs of DAPO, which samples until a step
has its groups with a signal: with all problems, with the band of pass rates, and (`--sides all band adapt`)
with chances that follow the run's own groups and need no profile. All else is the same: groups trained
on in a step, response tokens in all, seeds, bench.

The bench is held-out problems of the three difficulties. The accuracy to reach is, for each seed, a share of
the way that the run with all problems makes; each side pays the response tokens it has sampled until then. A
run that is there already is not made again. Token counts do not depend on the load of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rlvr_cli.data.profiles import read_profile
from rlvr_cli.data.synthetic import generate
from rlvr_cli.tracking import read_metrics

STUDENT_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95% quantile of Student's t for means of n seeds."""
DIGITS = {"easy": 1, "medium": 2, "hard": 4}
SIDES = {
    "all": [],
    "band": ["data.train.difficulty={{file: {profile}, band: [{low}, {high}]}}"],
    "adapt": ["data.train.difficulty={{adapt: true, weight: signal}}"],
}
METRIC = "eval/mixed/avg@4"
TOKENS = "perf/total_response_tokens"
QUIET = [
    "tracker.wandb=disabled",
    "tracker.rollouts=false",
    "tracker.console=plain",
    "preflight.enabled=false",
]

SFT = """\
defaults:
  - algorithm: sft
  - model: tiny
  - data@data.easy: addition
  - data@data.medium: addition
  - data@eval.source: addition
  - trainer: zero0
  - _self_
name: start
model: {{tiny: {{hidden_size: {hidden}, layers: {layers}}}}}
data: {{easy: {{options: {{digits: 1}}, weight: 1}}, medium: {{options: {{digits: 2}}, weight: 1}}}}
batch: {{examples_per_step: 128}}
algorithm: {{max_length: 64}}
trainer: {{steps: 600, lr: 2e-3, warmup_steps: 10, precision: fp32}}
eval: {{source: {{split: eval}}, every: 10, stop_at: {stop_at}}}
"""

RL = """\
defaults:
  - algorithm: dapo
  - verifier@verifiers.math: math
  - rollout: {engine}
  - trainer: zero0
  - _self_
name: mixed
model: {{path: {model}}}
data: {{train: {{path: {train}, chat: never, verifiers: [math]}}}}
hygiene: {{enabled: false}}
batch: {{prompts_per_step: 16, group_size: 8}}
rollout: {{max_prompt_tokens: 16, max_tokens: 48, max_rounds: 20, oversample: 1.25, max_num_seqs: 512}}
trainer: {{steps: 10000, response_tokens: {tokens}, lr: {lr}, precision: fp32}}
checkpoint: {{every: null}}
eval:
  every: {every}
  benches:
    mixed:
      source: {{path: {bench}, chat: never}}
      verifier: {{name: math}}
      k: 4
      max_tokens: 48
"""


def run(*arguments: str, threads: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-m", "rlvr_cli", *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"rlvr {' '.join(arguments)}\n{done.stderr[-3000:]}")


def write_problems(path: Path, split: str, size: int) -> None:
    """`size` rows of each difficulty; only 70 additions of one digit are to train on: they repeat."""
    rows = []
    for name, digits in DIGITS.items():
        options = {"digits": digits} | ({} if digits == 1 else {"size": size})
        found = generate("addition", split, options, seed=0)
        chosen = [found[n % len(found)] for n in range(size)]
        rows += [{"prompt": row["prompt"], "answer": row["answer"], "subject": name} for row in chosen]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def prepare(options: Namespace) -> dict[str, Any]:
    """Data, start model, recipe and profile, each unless it is there; what is known of the start model."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, split, size in (("train", "train", options.size), ("bench", "eval", options.bench)):
        if not (out / f"{name}.jsonl").exists():
            write_problems(out / f"{name}.jsonl", split, size)
    settings = {"hidden": options.hidden, "layers": options.layers, "stop_at": options.stop_at}
    (out / "sft.yaml").write_text(SFT.format(**settings))
    if not (out / "start" / "final").is_dir():
        run(
            "sft",
            f"{out / 'sft.yaml'}",
            f"out={out / 'start'}",
            *QUIET[:1],
            *QUIET[2:3],
            threads=options.threads,
        )
    paths = {"model": out / "start", "train": out / "train.jsonl", "bench": out / "bench.jsonl"}
    recipe = RL.format(
        **paths, engine=options.engine, tokens=options.tokens, lr=options.lr, every=options.every
    )
    (out / "mixed.yaml").write_text(recipe)
    profile = out / "train.profile.jsonl"
    if not profile.exists():
        run(
            "profile",
            f"{out / 'mixed.yaml'}",
            "-k",
            f"{options.k}",
            "-o",
            f"{profile}",
            threads=options.threads,
        )
    return ranked(out, options.k)


def ranked(out: Path, k: int) -> dict[str, Any]:
    """Mean pass rate of each difficulty in the profile, whether it ranks them, and what the profile cost."""
    kinds = {
        row["prompt"]: row["subject"]
        for row in map(json.loads, (out / "train.jsonl").read_text().splitlines())
    }
    lines = [row["prompt"] for row in map(json.loads, (out / "train.jsonl").read_text().splitlines())]
    rows = read_profile(out / "train.profile.jsonl").rows
    rates: dict[str, list[float]] = {name: [] for name in DIGITS}
    for row in rows:  # without an id a problem is called after its row
        rates[kinds[lines[int(row["id"]) - 1]]].append(row["correct"] / row["judged"])
    easy, medium, hard = (mean(rates[name]) for name in DIGITS)
    return {
        "pass_rate": {"easy": easy, "medium": medium, "hard": hard},
        "ranks": easy > medium > hard,
        "profile_tokens": sum(row["tokens"] * row["samples"] for row in rows),
    }


def train(options: Namespace, side: str, seed: int) -> Path:
    out = Path(options.out) / side / f"seed{seed}"
    if not (out / "final").is_dir():
        low, high = options.band
        profile = Path(options.out) / "train.profile.jsonl"
        chosen = [text.format(profile=profile, low=low, high=high) for text in SIDES[side]]
        recipe = f"{Path(options.out) / 'mixed.yaml'}"
        run("train", recipe, f"seed={seed}", f"out={out}", *chosen, *QUIET, threads=options.threads)
    return out


def curve(out: Path) -> list[tuple[float, float]]:
    """(response tokens so far, accuracy) of each evaluation, the accuracy a mean of three neighbours: one
    evaluation of a bench of this size is uncertain by more than a few steps bring."""
    tokens, points = 0.0, []
    for row in read_metrics(out):
        tokens = row.get(TOKENS, tokens)
        if METRIC in row:
            points.append((tokens, row[METRIC]))
    values = [value for _, value in points]
    return [(at, mean(values[max(0, n - 1) : n + 2])) for n, (at, _) in enumerate(points)]


def tokens_to(curve: list[tuple[float, float]], accuracy: float) -> float | None:
    """Response tokens after which the curve first reaches an accuracy, between points along a line."""
    if curve[0][1] >= accuracy:
        return curve[0][0]
    for (before, low), (after, high) in pairwise(curve):
        if high >= accuracy:
            return before + (after - before) * (accuracy - low) / (high - low)
    return None


def compare(options: Namespace, seed: int) -> dict[str, Any]:
    """The tokens of each side until the accuracy of this seed."""
    curves = {side: curve(Path(options.out) / side / f"seed{seed}") for side in options.sides}
    start, best = curves["all"][0][1], max(value for _, value in curves["all"])
    target = start + options.way * (best - start)
    return {
        "seed": seed,
        "start": start,
        "target": target,
        "tokens": {side: tokens_to(found, target) for side, found in curves.items()},
        "final": {side: found[-1][1] for side, found in curves.items()},
        "sampled": {side: found[-1][0] for side, found in curves.items()},
    }


def saving(row: dict[str, Any], side: str) -> float | None:
    """Share of the tokens of the run with all problems; None where the accuracy was not reached."""
    spent = row["tokens"][side]
    return None if spent is None else 1 - spent / row["tokens"]["all"]


def table(rows: list[dict[str, Any]], sides: list[str]) -> Iterator[str]:
    others = [side for side in sides if side != "all"]
    yield (
        "| seed | start, % | to reach, % | tokens, all | " + " | ".join(f"{s} | saved" for s in others) + " |"
    )
    yield "|---" * (4 + 2 * len(others)) + "|"
    for row in rows:
        cells = [f"{row['seed']}", f"{100 * row['start']:.1f}", f"{100 * row['target']:.1f}"]
        cells.append(f"{row['tokens']['all']:,.0f}")
        for side in others:
            saved = saving(row, side)
            cells += (
                ["not reached", "-"] if saved is None else [f"{row['tokens'][side]:,.0f}", f"{saved:.0%}"]
            )
        yield "| " + " | ".join(cells) + " |"


def summary(rows: list[dict[str, Any]], side: str) -> dict[str, Any]:
    """Seeds that saved a quarter, and the mean saving with its 95% interval over seeds."""
    found = [saved for row in rows if (saved := saving(row, side)) is not None]
    half = STUDENT_95[len(found)] * stdev(found) / sqrt(len(found)) if len(found) > 1 else float("nan")
    quarter = sum(saved >= 0.25 for saved in found)
    return {"side": side, "seeds": len(rows), "reached": len(found), "a_quarter": quarter} | (
        {"saved": mean(found), "half": half} if found else {}
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/difficulty", help="where data and runs go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=["all", "band"])
    parser.add_argument("--tokens", type=int, default=300_000, help="response tokens of each run")
    parser.add_argument("--every", type=int, default=4, help="steps between evaluations")
    parser.add_argument(
        "--way", type=float, default=0.8, help="share of the gain of `all` that is to be reached"
    )
    parser.add_argument("--band", type=float, nargs=2, default=[0.1, 0.9], metavar=("LOW", "HIGH"))
    parser.add_argument("--size", type=int, default=256, help="training problems of each difficulty")
    parser.add_argument("--bench", type=int, default=96, help="held-out problems of each difficulty")
    parser.add_argument("-k", type=int, default=8, help="samples of a problem in the profile")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument(
        "--stop-at", type=float, default=0.975, help="token accuracy at which the start model is done"
    )
    parser.add_argument("--hidden", type=int, default=128, help="width of the model")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--engine", choices=["vllm", "hf"], default="vllm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the numbers go")
    options = parser.parse_args()
    if options.sides[0] != "all":
        parser.error("--sides begins with all, which the others are compared with")
    start = prepare(options)
    rates = ", ".join(f"{name} {rate:.1%}" for name, rate in start["pass_rate"].items())
    print(f"start model: {rates}; the profile {'ranks them' if start['ranks'] else 'does not rank them'}")
    rows = []
    for seed in range(options.seeds):
        for side in options.sides:
            train(options, side, seed)
        rows.append(compare(options, seed))
        print(json.dumps(rows[-1]), flush=True)
    print("\n".join(table(rows, options.sides)))
    sums = [summary(rows, side) for side in options.sides[1:]]
    for each in sums:
        said = f"{each['saved']:.0%} ± {each['half']:.0%}" if "saved" in each else "nothing"
        print(
            f"{each['side']}: reached in {each['reached']} of {each['seeds']} seeds, a quarter saved in "
            f"{each['a_quarter']}; saved {said} of the sampled tokens (95% interval over seeds)"
        )
    print(f"the profile itself took {start['profile_tokens']:,.0f} tokens, once for all runs from this model")
    if options.json:
        content = {"start": start, "rows": rows, "sides": sums, "options": vars(options) | {"json": None}}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
