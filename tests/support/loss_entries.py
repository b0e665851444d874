"""Run on one rank and on two by test_loss_runs.py: two steps of each preset, on two also in two parts."""

import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

from exact_entries import traces, train
from run_helpers import RECIPE, comparable, steps_of

from rlvr_cli.tracking import plots

BARE = RECIPE.replace("algorithm: {kl: {coef: 0.05}, reference: {}}\n", "")


def main(out: Path, presets: list[str]) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plots.curves = lambda out: None  # half the time of such a run
    path, results = out / f"bare{rank}.yaml", {}
    path.write_text(BARE)
    for preset in presets:
        chosen = [f"algorithm={preset}", "preflight.enabled=false", "trainer.zero_stage=2"]
        chosen += ["algorithm.advantage.k=2"] if preset == "pass_at_k" else []  # of groups of 4
        for name, parts in {"whole": (2,), "resumed": (1, 2)}.items():
            if ranks == 1 and name == "resumed":
                continue
            run = out / f"{preset}-{name}"
            for steps in parts:  # the second goes on where the first has ended
                train(path, run, ranks, *chosen, f"trainer.steps={steps}", "checkpoint.every=1")
            if rank == 0:
                rows = [comparable(row) for row in steps_of(run)]
                results[f"{preset} {name} ranks={ranks}"] = {"rows": rows, "traces": traces(run)}
    if rank == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3].split(","))
