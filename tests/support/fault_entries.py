"""Run by test_nonfinite_runs.py: runs in which a rollout logprob of some steps is not a number.

`python fault_entries.py FOLDER`: one after the other in this process, each in FOLDER/<its name>; exit codes
and what was said on stderr go into FOLDER/results.json.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import json
import math

from run_helpers import RECIPE

from rlvr_cli.commands.main import main
from rlvr_cli.core.rank_process import free_port, rank_environment
from rlvr_cli.training import loop
from rlvr_cli.training.batches import make_batches

SHORT = ["batch.prompts_per_step=2", "batch.updates_per_step=1", "trainer.steps=4", "preflight.enabled=false"]
SAVED = "checkpoint.every=1"
RUNS: dict[str, tuple[list[int], bool, list[str]]] = {
    "stop": ([1], False, []),
    "skip": ([1, 2], False, ["faults.nonfinite=skip"]),
    "skipped_thrice": ([1, 2, 3], False, ["faults.nonfinite=skip", "trainer.steps=9"]),
    "rollback": ([2], True, ["faults.nonfinite=rollback", SAVED]),
    "no_way_back": ([1], False, ["faults.nonfinite=rollback"]),
    "no_help": ([1], False, ["faults.nonfinite=rollback", SAVED]),
}
"""Numbers of finished steps whose successor is spoiled; whether only the first time; overrides."""


def spoiling(steps: list[int], once: bool):
    left = list(steps)

    def spoil(parts, groups, owners, prompts):
        batches = make_batches(parts, groups, owners, prompts)
        if parts.step in left:
            if once:
                left.remove(parts.step)
            batches[-1].rollout_logprobs_N[5] = math.nan
        return batches

    return spoil


def stage(folder: Path) -> None:
    os.environ.update(rank_environment(0, 1, free_port()))  # as under torchrun: the rank is this process
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    results = {}
    for name, (steps, once, overrides) in RUNS.items():
        loop.make_batches = spoiling(steps, once)
        said = io.StringIO()
        with redirect_stderr(said):
            code = main(["train", str(recipe), f"out={folder / name}", *SHORT, *overrides])
        results[name] = [code, said.getvalue()]
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
