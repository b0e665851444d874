"""Run on one rank and on two by test_loss_runs.py: two steps of each preset, on two also in two parts."""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

from exact_entries import traces, train
from run_helpers import RECIPE, comparable, steps_of

from rlvr_cli.core import distributed
from rlvr_cli.tracking import plots

MORE = {
    "pass_at_k": ["algorithm.advantage.k=2"],  # of groups of 4
    "gdpo": [  # whose second reward is another one than the first
        "+verifier@verifiers.short=length",
        "data.train.verifiers=[chance,short]",
        "verifiers.short.weight=0.5",
    ],
    "clip_cov": ["algorithm.loss.cov_low=0.01"],  # of small models
}
BARE = RECIPE.replace("algorithm: {kl: {coef: 0.05}, reference: {}}\n", "")


def spoil(run: Path) -> None:
    """Take the end and the second step's checkpoint away, as a failing disk would."""
    shutil.rmtree(run / "final")
    os.truncate(run / "checkpoints" / "step_2" / "rng_rank1.pt", 100)


def main(out: Path, presets: list[str]) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plots.curves = lambda out: None  # half the time of such a run
    path, results = out / f"bare{rank}.yaml", {}
    path.write_text(BARE)
    for preset in presets:
        chosen = [f"algorithm={preset}", "preflight.enabled=false", "trainer.zero_stage=2", "trainer.steps=2"]
        chosen += ["checkpoint.every=1", "checkpoint.keep=2"]
        chosen += MORE.get(preset, [])
        whole, cut = out / f"{preset}-whole", out / f"{preset}-resumed"
        train(path, whole, ranks, *chosen)
        if ranks == 2:
            if rank == 0:
                spoil(shutil.copytree(whole, cut))
            distributed.barrier()
            train(path, cut, ranks, *chosen)
        for name, run in {"whole": whole, "resumed": cut}.items():
            if rank == 0 and run.is_dir():
                rows = [comparable(row) for row in steps_of(run)]
                results[f"{preset} {name} ranks={ranks}"] = {"rows": rows, "traces": traces(run)}
    if rank == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3].split(","))
