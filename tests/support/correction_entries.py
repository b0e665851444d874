"""Run on one rank and on two by test_correction_runs.py: runs with off-policy corrections, one by one.

Each preset with samples as old as it may have, whole, and cut and continued; and runs whose engine agrees
with the trainer to the bit, with every kind of correction.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

from exact_entries import traces, train
from run_helpers import RECIPE, comparable, steps_of

from rlvr_cli.core import distributed
from rlvr_cli.tracking import plots
from rlvr_cli.training import loop, sample_ahead
from rlvr_cli.training.batches import make_batches
from rlvr_cli.training.whole_update import scaled

AGED = ("rollout.max_staleness=1", "checkpoint.every=1")
PRESETS = {
    "decoupled": ("algorithm=decoupled", *AGED),
    "a3po": ("algorithm=a3po", *AGED),
    "icepop": ("algorithm=icepop", "checkpoint.every=1"),
    "mis": ("algorithm=mis", "checkpoint.every=1"),
    "normalised": (
        *("algorithm=decoupled", "algorithm/mismatch=truncate", "algorithm.mismatch.normalise=true"),
        *("algorithm.mismatch.level=sequence", "algorithm.mismatch.cap=1.1", *AGED),
    ),
}
RESUMED = ("decoupled", "a3po", "icepop", "mis")
MISMATCH = "algorithm.mismatch."
AGREEING = {
    "none": ("algorithm/mismatch=none",),
    "normalised": ("algorithm/mismatch=truncate", MISMATCH + "normalise=true"),
    "reject": ("algorithm/mismatch=reject", MISMATCH + "limit=0.0", MISMATCH + "weight=sequence"),
    "bypass": ("algorithm/mismatch=none", MISMATCH + "proximal=rollout"),
    "interpolated": (MISMATCH + "proximal=interpolated",),
}


def all_here(parts: Any, rows: list[list[Any]], step: int, missing: int) -> tuple[int, set[int]]:
    """In the place of `wanted_here`: everything in flight, so that ranks have the same groups, old ones."""
    here = {index for _, index, _ in rows[parts.engine.share[0]]}
    return len(here), here


def agreed(parts: Any, *given: Any) -> list[Any]:
    """Batches whose engine's logprobs are the trainer's."""
    batches = make_batches(parts, *given)
    for n, batch in enumerate(batches):
        old_N, *_ = parts.trainer.score(batch.sequences, batch.trained, owners=batch.owners)
        batch.rollout_logprobs_N = old_N
        batch.old_logprobs_N = None if batch.old_logprobs_N is None else old_N
        batches[n] = scaled(batch, parts.recipe.algorithm.mismatch)
    return batches


def main(out: Path) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plots.curves = lambda out: None
    sample_ahead.wanted_here = all_here
    path = out / f"corrected{rank}.yaml"
    path.write_text(RECIPE.replace("algorithm: {kl: {coef: 0.05}, reference: {}}\n", ""))
    results: dict[str, Any] = {}
    for name, overrides in PRESETS.items():
        whole, cut = out / name, out / f"{name}-cut"
        train(path, whole, ranks, *overrides)
        if ranks == 1 and name in RESUMED:
            shutil.copytree(whole, cut)
            for step in ("checkpoints/step_3", "final"):
                shutil.rmtree(cut / step)
            train(path, cut, ranks, *overrides)
        if rank == 0:
            runs = [folder for folder in (whole, cut) if folder.is_dir()]
            results[name] = [[comparable(row) for row in steps_of(run)] for run in runs]
            results[f"traces {name}"] = [traces(run) for run in runs]
            results[f"scored {name}"] = "timing_s/old_logprobs" in steps_of(whole)[0]
    loop.make_batches = agreed
    for name, overrides in AGREEING.items() if ranks == 1 else ():
        run = out / f"agreeing-{name}"
        train(path, run, ranks, "algorithm=icepop", *overrides, "trainer.steps=1", "checkpoint.every=1")
        results[f"agreeing {name}"] = traces(run)
    distributed.barrier()
    if rank == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
