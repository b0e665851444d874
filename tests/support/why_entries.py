"""Real runs for test_why_runs.py: `python why_entries.py FOLDER`: a start model, and sick runs from it.

All in one process, with transformers as the engine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

from run_helpers import SFT_RECIPE

from rlvr_cli import compose
from rlvr_cli.core.errors import Hopeless
from rlvr_cli.tracking import plots
from rlvr_cli.training.loop import rl
from rlvr_cli.training.sft import sft

START = [
    "data.train.limit=null", "data.train.options={digits: 1}", "batch.examples_per_step=64",
    "batch.tokens_per_microbatch=4096", "trainer.steps=70", "trainer.lr=5e-3",
]  # fmt: skip
ADDITIONS = """
defaults:
  - algorithm: grpo
  - data@data.train: addition
  - verifier@verifiers.sums: math
  - rollout: hf
  - trainer: zero0
  - _self_
name: additions
data: {train: {options: {digits: 1}, verifiers: [sums]}}
batch: {prompts_per_step: 16, group_size: 4, tokens_per_microbatch: 4096}
rollout: {max_prompt_tokens: 16, max_tokens: 40}
trainer: {steps: 8, lr: 1e-4, precision: fp32}
algorithm: {kl: {coef: 0.05}, reference: {}}
tracker: {wandb: disabled}
"""
SICK = {
    "unread": ["verifiers.sums.extraction=answer_tags", "trainer.steps=3"],
    "rash": ["trainer.lr=0.3", "trainer.steps=9"],
    "dead": [
        "verifier@verifiers.sums=judge", "verifiers.sums.base_url=http://127.0.0.1:9/v1",
        "verifiers.sums.model=none", "verifiers.sums.retries=0", "verifiers.sums.wait_s=0",
    ],
}  # fmt: skip


def main(folder: Path) -> None:
    plots.curves = lambda out: None  # type: ignore[assignment]  # half the time of such a run
    (folder / "start.yaml").write_text(SFT_RECIPE)
    (folder / "additions.yaml").write_text(ADDITIONS)
    start = compose.load(str(folder / "start.yaml"), [*START, f"out={folder / 'start'}"], "sft")
    sft(start, sys.stdout)  # type: ignore[arg-type]
    for name, changes in SICK.items():
        out = folder / name
        given = [f"model.path={folder / 'start' / 'final'}", f"out={out}", *changes]
        recipe = compose.load(str(folder / "additions.yaml"), given, "train")
        out.mkdir()
        compose.save(recipe, out / "recipe.yaml")
        try:
            rl(recipe, sys.stdout)  # type: ignore[arg-type]
        except Hopeless as error:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
