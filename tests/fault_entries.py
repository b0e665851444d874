"""Run by test_nonfinite_runs.py: a run in which a rollout logprob of a step is not a number.

`python fault_entries.py RECIPE STEPS [key=value ...]`: STEPS are numbers of finished steps, commas
between them; "once" before them spoils each only the first time it is reached.
"""

from __future__ import annotations

import os
import sys

os.environ["DS_ACCELERATOR"] = "cpu"

import math

from rlvr_cli import cli, loop
from rlvr_cli.engine import distributed
from rlvr_cli.experience import make_batches


def main() -> int:
    recipe, steps, *overrides = sys.argv[1:]
    left = [int(step) for step in steps.removeprefix("once").split(",")]

    def spoil(parts, groups):
        batches = make_batches(parts, groups)
        if parts.step in left:
            if steps.startswith("once"):
                left.remove(parts.step)
            batches[-1].rollout_logprobs_N[5] = math.nan
        return batches

    loop.make_batches = spoil
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(distributed.free_port())}
    for name, value in place.items():
        os.environ.setdefault(name, value)  # as under torchrun: the rank is this process
    return cli.main(["train", recipe, *overrides])


if __name__ == "__main__":
    sys.exit(main())
