"""What `rlvr plan` predicts against what runs take: `python benchmarks/plan.py`.

For each case on a CPU: the peak predicted from the recipe alone, then `rlvr plan --calibrate`, then a longer
run of its own. Memory is `perf/peak_memory_gb` of the longer run, the peak resident memory of rank 0; time is
its median `timing_s/step` after the first step, against the calibration's. `--baseline` measures
the memory of a rank without a model to speak of, the constant in rlvr_cli/planning/memory.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from typing import Any

GIB = 2**30
RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.chance: random
  - rollout: hf
  - trainer: zero0
  - _self_
name: plan
model: {tiny: {max_positions: 256}}
data: {train: {limit: 64, verifiers: [chance]}}
batch: {prompts_per_step: 4, group_size: 4, tokens_per_microbatch: 2048}
rollout: {max_prompt_tokens: 6, max_tokens: 32, kv_cache_gb: 0.25}
trainer: {lr: 1e-5, precision: fp32, ranks: 1}
checkpoint: {every: null}
tracker: {wandb: disabled, console: plain}
"""
SFT = """
defaults:
  - algorithm: sft
  - model: tiny
  - data@data.train: addition
  - trainer: zero0
  - _self_
name: plan
algorithm: {max_length: 34}
model: {tiny: {max_positions: 256}}
data: {train: {limit: 256}}
batch: {examples_per_step: 30, tokens_per_microbatch: 2048}
trainer: {lr: 1e-5, precision: fp32, ranks: 1}
checkpoint: {every: null}
tracker: {wandb: disabled, console: plain}
"""
M30 = ["model.tiny.hidden_size=512", "model.tiny.layers=10"]
NONE = ["model.tiny.hidden_size=64", "model.tiny.layers=1", "model.tiny.heads=2", "model.tiny.kv_heads=1"]
Z2 = ["trainer.zero_stage=2"]
CASES: dict[str, tuple[str, list[str]]] = {
    "31M fp32, ZeRO-0, vLLM": (RECIPE, [*M30, "rollout=vllm", "rollout.kv_cache_gb=0.25"]),
    "31M fp32, ZeRO-2, hf, 2 ranks": (RECIPE, [*M30, *Z2, "trainer.ranks=2"]),
    "31M fp32, ZeRO-3, hf, 2 ranks": (RECIPE, [*M30, "trainer.zero_stage=3", "trainer.ranks=2"]),
    "31M fp32, ZeRO-0, SFT, checkpoints": (SFT, [*M30, "checkpoint.every=1"]),
}
BASELINES = {
    "rl": (RECIPE, NONE),
    "vllm": (RECIPE, [*NONE, "rollout=vllm", "rollout.kv_cache_gb=0.25"]),
    "sft": (SFT, NONE),
}


def rlvr(*arguments: str) -> str:
    """Standard output of the command; `plan` ends with 1 where something does not fit."""
    command = [sys.executable, "-m", "rlvr_cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def run(file: Path, overrides: list[str], steps: int) -> list[dict[str, Any]]:
    """Train in a directory of its own; the rows of its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        rlvr("train", str(file), *overrides, f"out={folder}/run", f"trainer.steps={steps}")
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def measure(recipe: str, overrides: list[str], steps: int) -> dict[str, float]:
    """Predicted and measured GiB and seconds of one case."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(recipe)
        plain = json.loads(rlvr("plan", str(file), *overrides, "--gpu", "cpu", "--json"))
        calibrated = json.loads(rlvr("plan", str(file), *overrides, "--calibrate", "--json"))
        rows = run(file, overrides, steps)
    seconds = [row["timing_s/step"] for row in rows[1:]]
    return {
        "predicted": plain["memory"]["peak"] / GIB,
        "measured": rows[-1]["perf/peak_memory_gb"],
        "predicted_s": sum(calibrated["seconds"].values()),
        "measured_s": median(seconds),
    }


def error(predicted: float, measured: float) -> str:
    return f"{(predicted - measured) / measured:+.0%}"


def baseline() -> None:
    for name, (recipe, overrides) in BASELINES.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "recipe.yaml"
            file.write_text(recipe)
            peak = run(file, overrides, 3)[-1]["perf/peak_memory_gb"]
            items = json.loads(rlvr("plan", str(file), *overrides, "--gpu", "cpu", "--json"))["memory"][
                "items"
            ]
        model = sum(item["phases"].get("update", 0) for item in items if item["name"] != "libraries") / GIB
        print(f"{name}: {peak:.3f} GiB, of which {model:.3f} GiB are the model's", flush=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--steps", type=int, default=10, help="steps of the longer run (10)")
    parser.add_argument("--cases", nargs="+", type=int, metavar="N", help="only these, counted from 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.baseline:
        baseline()
        return
    found = {}
    print("| case | predicted GiB | measured | error | s a step calibrated | measured | error |")
    print("|---|---|---|---|---|---|---|")
    for number, (name, (recipe, overrides)) in enumerate(CASES.items(), start=1):
        if options.cases and number not in options.cases:
            continue
        m = found[name] = measure(recipe, overrides, options.steps)
        memory = f"{m['predicted']:.2f} | {m['measured']:.2f} | {error(m['predicted'], m['measured'])}"
        time = f"{m['predicted_s']:.2f} | {m['measured_s']:.2f} | {error(m['predicted_s'], m['measured_s'])}"
        print(f"| {name} | {memory} | {time} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
