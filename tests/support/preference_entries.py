"""Run on one rank and on two by test_preferences.py: small runs of preferences under ZeRO-0 and ZeRO-3."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

from run_helpers import comparable, steps_of

from rlvr_cli import compose
from rlvr_cli.core import distributed
from rlvr_cli.tracking import plots, read_metrics
from rlvr_cli.training.preferences import preferences

PAIRS_RECIPE = """
defaults:
  - algorithm: dpo
  - model: tiny
  - data@data.train: addition_pairs
  - data@eval.source: addition_pairs
  - trainer: zero0
  - _self_
name: pairs
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {train: {limit: 32}}
batch: {examples_per_step: 6, tokens_per_microbatch: 200}
algorithm: {max_length: 64}
trainer: {steps: 2, lr: 1e-3, precision: fp32}
eval: {source: {split: eval, limit: 16}}
tracker: {wandb: disabled}
"""
CASES = {
    "dpo": ["algorithm.sft_coef=0.5"],
    "kto": ["algorithm=kto"],
    "lora": ["model.lora.rank=4"],
}
PRESETS = {name: [f"algorithm={name}"] for name in ("ipo", "orpo", "simpo", "cpo")}
"""The others of these, each whole, gone on with after its first step, and on two ranks with ZeRO-3."""


LEARNS = ["batch.examples_per_step=24", "data.train.limit=null", "trainer.lr=3e-3", "eval.source.limit=64"]
LEARNS += ["trainer.steps=9", "eval.every=3", "checkpoint.every=3", "checkpoint.keep=9"]
"""A run that learns, with a checkpoint after every third step."""


def train(path: Path, run: Path, *overrides: str) -> None:
    with open(os.devnull, "w") as nowhere:
        preferences(compose.load(str(path), [f"out={run}", *overrides]), nowhere)
    distributed.barrier()


def cut_at(run: Path, other: Path, step: int) -> Path:
    """A copy of the run as it was after a step that has a checkpoint."""
    shutil.copytree(run, other)
    shutil.rmtree(other / "final")
    for later in (other / "checkpoints").glob("step_*"):
        if int(later.name.removeprefix("step_")) > step:
            shutil.rmtree(later)
    (other / "checkpoints" / "latest").write_text(f"step_{step}")
    return other


def told(run: Path) -> dict[str, Any]:
    weights = (run / "final" / "model.safetensors").read_bytes()
    rows = [comparable(row) for row in steps_of(run)]
    return {"rows": rows, "weights": hashlib.sha256(weights).hexdigest()}


def cut_and_go_on(path: Path, out: Path) -> dict[str, Any]:
    """A run, and the same from its first checkpoint on: rows, evaluations, hashes of the weights."""
    whole, cut = out / "whole", out / "cut"
    train(path, whole, *LEARNS)
    train(path, cut_at(whole, cut, 3), *LEARNS)
    found = [told(run) for run in (whole, cut)]
    return {
        "rows": [each["rows"] for each in found],
        "weights": [each["weights"] for each in found],
        "measured": [row for row in read_metrics(whole) if row.get("event") == "eval"],
        "went on": "continuing after step 3" in (cut / "events.jsonl").read_text(),
    }


def main(out: Path) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plots.curves = lambda out: None  # half the time of such a run
    path = out / f"pairs{rank}.yaml"
    path.write_text(PAIRS_RECIPE)
    results: dict[str, Any] = {}
    splits = ((0, 2000), (0, 80)) if ranks == 1 else ((3, 200),)
    for case, overrides in CASES.items():
        for stage, tokens in splits:
            run = out / f"{case}-{stage}-{tokens}"
            own = [f"trainer.ranks={ranks}", f"trainer.zero_stage={stage}"]
            train(path, run, *own, f"batch.tokens_per_microbatch={tokens}", *overrides)
            if rank == 0:
                results[f"{case} {stage} {tokens}"] = [comparable(row) for row in steps_of(run)]
    kept = ["checkpoint.every=1", "checkpoint.keep=2"]
    for case, overrides in (PRESETS | {"kto": CASES["kto"]}).items():
        run = out / f"{case}-whole"
        own = [f"trainer.ranks={ranks}", f"trainer.zero_stage={0 if ranks == 1 else 3}", *overrides, *kept]
        train(path, run, *own)
        if rank == 0:
            results[f"{case} on {ranks}"] = told(run)
        if ranks == 1:
            other = cut_at(run, out / f"{case}-cut", 1)
            train(path, other, *own)
            results[f"{case} cut"] = told(other)
    if ranks == 1:
        results["cut"] = cut_and_go_on(path, out)
    if rank == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
