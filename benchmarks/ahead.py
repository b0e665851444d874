"""What sampling ahead saves where lengths have a tail: `python benchmarks/ahead.py`.

The same recipe is trained with `rollout.max_staleness=0`, with partial rollouts (`overlap: between`) and with
the engine in a thread beside the trainer, in turns. Responses of an untrained model end by chance, so that
their lengths are geometric: most are short, the longest of a step many times the mean. Two measures for each
mode, both for 1000 trained tokens: seconds a step waited for the engine, and steps of the engine (times it
was asked for a token more), which no load on the machine changes. Without staleness these are the longest
response of each step. For `beside` also the share of the engine's steps made while the trainer worked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from typing import Any

from modes import MODES, PLACEMENTS, settings

from rlvr_cli.tracking import read_metrics

RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.chance: random
  - rollout: vllm
  - trainer: zero0
  - override algorithm/mismatch: truncate
  - _self_
name: ahead
model: {tiny: {hidden_size: 256, layers: 4, heads: 4, kv_heads: 2, max_positions: 1100}}
data: {train: {verifiers: [chance]}}
batch: {prompts_per_step: 16, group_size: 4, tokens_per_microbatch: 4096}
rollout: {max_prompt_tokens: 16, max_tokens: 1024, kv_cache_gb: 1.0, sleep: false}
trainer: {lr: 0, precision: fp32}
preflight: {enabled: false}
tracker: {wandb: disabled, console: plain, rollouts: false}
"""
WARM_UP = 3
"""Steps left out: the first begins more than it trains on."""


def run(folder: Path, mode: str, options: Namespace) -> dict[str, float]:
    """Sums over the steps of one run after the warm-up."""
    recipe, out = folder / "recipe.yaml", folder / "run"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "rlvr_cli", "train", str(recipe), f"out={out}", "resume=never"]
    command += [f"trainer.steps={options.steps + WARM_UP}", *settings(options.placement, mode)]
    command += options.overrides
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{mode}: {done.stderr[-2000:]}")
    rows = [row for row in read_metrics(out) if "timing_s/step" in row][WARM_UP:]
    samples = 16 * 4
    return {
        "tokens": sum(row["response_length/mean"] * samples for row in rows),
        "rollout_s": sum(row["timing_s/rollout"] for row in rows),
        "sync_s": sum(row["timing_s/sync"] for row in rows) / len(rows),
        "step_s": sum(row["timing_s/step"] for row in rows),
        "engine_steps": sum(row.get("perf/engine_steps", row["response_length/max"]) for row in rows),
        "beside": sum(row.get("perf/beside_fraction", 0.0) for row in rows) / len(rows),
        "staleness": sum(row.get("staleness/mean", 0.0) for row in rows) / len(rows),
        "longest": max(row["response_length/max"] for row in rows),
        "mean": sum(row["response_length/mean"] for row in rows) / len(rows),
    }


def per_thousand(found: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the rounds, of what adds up for 1000 tokens."""
    out = {name: median(1000 * x[name] / x["tokens"] for x in found) for name in SUMS}
    return out | {name: median(x[name] for x in found) for name in MEANS}


MEANS = ("beside", "staleness", "mean", "longest", "sync_s")
SUMS = ("rollout_s", "step_s", "engine_steps")


def show(result: dict[str, dict[str, float]]) -> None:
    first = next(iter(result.values()))
    print("| mode | engine steps | saved | waited for it, s | saved | whole step, s | ratio | beside | age |")
    print("|---|---|---|---|---|---|---|---|---|")
    for mode, row in result.items():
        saved = [1 - row[name] / first[name] for name in ("engine_steps", "rollout_s")]
        print(
            f"| {mode} | {row['engine_steps']:.0f} | {saved[0]:.0%} | {row['rollout_s']:.2f} "
            f"| {saved[1]:.0%} | {row['step_s']:.2f} | {row['step_s'] / first['step_s']:.2f} "
            f"| {row['beside']:.0%} | {row['staleness']:.2f} |"
        )
    print(
        f"\nfor 1000 trained tokens; responses have {first['mean']:.0f} tokens, up to {first['longest']:.0f}"
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="steps measured of each run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each mode, in turns")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="these alone")
    parser.add_argument("--placement", choices=PLACEMENTS, default="in_process", help="where the engine is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    found: dict[str, list[Any]] = {mode: [] for mode in options.modes}
    for _ in range(options.rounds):
        for mode in options.modes:
            with tempfile.TemporaryDirectory() as folder:
                found[mode].append(run(Path(folder), mode, options))
    result = {mode: per_thousand(each) for mode, each in found.items()}
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
