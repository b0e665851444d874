"""Run on one rank and on two by test_exactness.py: the same run under every ZeRO stage, one by one.

And with the trainer asleep while the engine samples, and checkpoints, and a resume.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

from run_helpers import RECIPE, comparable, steps_of

from rlvr_cli import compose
from rlvr_cli.core import distributed
from rlvr_cli.tracking import plots, read_records
from rlvr_cli.training.loop import rl


def traces(run: Path) -> dict[str, str]:
    """Hashes of what a run has made: the exported weights, and the trainer's state in the last checkpoint."""
    latest = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    files = [run / "final" / "model.safetensors", *sorted(latest.glob("trainer/*.pt"))]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def train(path: Path, run: Path, ranks: int, *overrides: str) -> None:
    recipe = compose.load(str(path), [f"out={run}", f"trainer.ranks={ranks}", *overrides], "train")
    with open(os.devnull, "w") as nowhere:
        rl(recipe, nowhere)
    distributed.barrier()


def main(out: Path) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plots.curves = lambda out: None  # half the time of such a run
    path = out / f"exact{rank}.yaml"
    path.write_text(RECIPE)
    budgets = (400, 200) if ranks == 1 else (400,)
    results = {}
    for budget in budgets:
        for stage in (0, 1, 2, 3):
            name = f"ranks={ranks} tokens={budget} zero={stage}"
            run = out / f"{budget}-zero{stage}"
            overrides = [f"trainer.zero_stage={stage}", f"batch.tokens_per_microbatch={budget}"]
            train(path, run, ranks, *overrides, f"tracker.tokens={str(stage == 1).lower()}")
            if rank == 0:
                results[name] = [comparable(row) for row in steps_of(run)]
    for stage, parts in ((0, (3,)), (2, (3,)), (3, (2, 3))) if ranks == 1 else ((3, (2, 3)),):
        run = out / f"asleep-zero{stage}"
        for steps in parts:  # the second goes on where the first has ended
            overrides = [f"trainer.zero_stage={stage}", f"trainer.steps={steps}", "trainer.sleep=true"]
            train(path, run, ranks, *overrides, "checkpoint.every=1")
        if rank == 0:
            awake = {"rows": results[f"ranks={ranks} tokens=400 zero={stage}"]}
            awake |= {"traces": traces(out / f"400-zero{stage}")}
            slept = {"rows": [comparable(row) for row in steps_of(run)], "traces": traces(run)}
            results[f"slept ranks={ranks} zero={stage}"] = [awake, slept]
    if rank == 0:
        rows = read_records(out / "400-zero1")
        results[f"records ranks={ranks}"] = sorted(rows, key=lambda row: (row["index"], row["sample"]))
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
