"""Run on one rank and on two by test_signal_presets.py: presets whose signal is a teacher or the policy's own
pairs, under ZeRO-0, under ZeRO-3 on two ranks, and gone on with from their first checkpoint."""

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
from rlvr_cli.tracking import plots
from rlvr_cli.training.loop import rl

RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.chance: random
  - rollout: hf
  - trainer: zero0
  - _self_
name: signal
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 160}}
data: {train: {limit: 64, verifiers: [chance]}}
batch: {prompts_per_step: 6, group_size: 4, tokens_per_microbatch: 400}
rollout: {max_prompt_tokens: 16, max_tokens: 12}
trainer: {steps: 2, lr: 1e-3, precision: fp32}
checkpoint: {every: 1, keep: 2}
preflight: {enabled: false}
tracker: {wandb: disabled, rollouts: false}
"""
CASES = {
    "online_dpo": ["algorithm.advantage.pairing=all"],
    "opd": ["teacher.path={teacher}"],
    "gkd": ["teacher.path={teacher}"],
    "sdft": ["teacher.policy=ema", "teacher.context=demonstration", "teacher.column=answer"],
    "sdpo": ["teacher.policy=ema", "teacher.context=sibling"],
}
CONTEXT = "teacher.template='{context} {prompt}'"
"""Short enough for a tiny model's positions."""


def train(path: Path, run: Path, *overrides: str) -> None:
    with open(os.devnull, "w") as nowhere:
        rl(compose.load(str(path), [f"out={run}", *overrides], "train"), nowhere)
    distributed.barrier()


def cut(run: Path) -> Path:
    """The run as it was after its first step."""
    other = run.with_name(f"{run.name}-cut")
    shutil.copytree(run, other)
    shutil.rmtree(other / "final")
    shutil.rmtree(other / "checkpoints" / "step_2")
    (other / "checkpoints" / "latest").write_text("step_1")
    return other


def told(run: Path) -> dict[str, Any]:
    """Metrics, and hashes of what was trained and of a teacher that follows."""
    files = [run / "final" / "model.safetensors", run / "checkpoints" / "step_2" / "teacher.pt"]
    weights = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()]
    return {"rows": [comparable(row) for row in steps_of(run)], "weights": weights}


def main(out: Path, teacher: str) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plots.curves = lambda out: None  # half the time of such a run
    path = out / f"signal{rank}.yaml"
    path.write_text(RECIPE)
    results: dict[str, Any] = {}
    for case, more in CASES.items():
        own = [f"algorithm={case}", *(each.replace("{teacher}", teacher) for each in more)]
        own += [CONTEXT] if any("teacher.context" in each for each in more) else []
        own += ["trainer.ranks=2", "trainer.zero_stage=3"] if ranks == 2 else []
        run = out / case
        train(path, run, *own)
        if rank == 0:
            results[case] = told(run)
        if ranks == 1:
            train(path, cut(run), *own)
            results[f"{case} cut"] = told(run.with_name(f"{case}-cut"))
    if rank == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3])
