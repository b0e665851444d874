"""Run on two ranks by test_distributed.py: what travels between them, and with how much patience."""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed as dist

from rlvr_cli.core import distributed
from rlvr_cli.engine import process_group


def patience(group: dist.ProcessGroup) -> float:
    return float(group._get_backend(torch.device("cpu")).options._timeout.total_seconds())


def main(out: Path) -> None:
    process_group.initialise(100.0)
    me = distributed.rank()
    large = torch.arange(300_000 * (me + 1), dtype=torch.int64)
    objects = [{"for": r, "from": me, "numbers": large[r:]} for r in range(2)]
    received = distributed.exchange(objects)
    integers, maxima = torch.tensor([me, 7]), torch.tensor([1.5, -2.0]) * (1 - 2 * me)
    summed = distributed.sum_over_ranks(integers)
    distributed.barrier()
    mine = {
        "received": [[x["for"], x["from"], len(x["numbers"]), int(x["numbers"].sum())] for x in received],
        "own is handed back": received[me] is objects[me],
        "empty": distributed.exchange([None, ""]),
        "sum": summed.tolist(),
        "in place": summed is integers,
        "maximum": distributed.max_over_ranks(maxima).tolist(),
        "patience": [patience(dist.group.WORLD), patience(distributed._cpu_group)],
        "patience of later groups": patience(dist.new_group()),
    }
    every = distributed.gather(mine)
    process_group.initialise(None)
    assert patience(dist.group.WORLD) == timedelta(days=20).total_seconds()
    distributed.barrier()
    if me == 0:
        (out / "results.json").write_text(json.dumps({"ranks": every}))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
