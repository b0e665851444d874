"""Run on one rank and on two by test_exactness.py: the same run under every ZeRO stage, one by one."""

import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

from run_helpers import RECIPE, comparable, steps_of

from rlvr_cli import compose
from rlvr_cli.core import distributed
from rlvr_cli.training.loop import rl


def main(out: Path) -> None:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    path = out / f"exact{rank}.yaml"
    path.write_text(RECIPE)
    budgets = (400, 200) if ranks == 1 else (400,)
    results = {}
    for budget in budgets:
        for stage in (0, 1, 2, 3):
            name = f"ranks={ranks} tokens={budget} zero={stage}"
            overrides = [f"trainer.zero_stage={stage}", f"batch.tokens_per_microbatch={budget}"]
            run = out / f"{budget}-zero{stage}"
            recipe = compose.load(str(path), [f"out={run}", f"trainer.ranks={ranks}", *overrides], "train")
            with open(os.devnull, "w") as nowhere:
                rl(recipe, nowhere)
            distributed.barrier()
            if rank == 0:
                results[name] = [comparable(row) for row in steps_of(run)]
    if rank == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
