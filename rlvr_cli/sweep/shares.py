"""What each of several runs at once gets of this machine: GPUs of its own, its part of the threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rlvr_cli.core.errors import UserError

Variables = dict[str, str]
"""Environment variables of one place a run can have."""


def shares(
    jobs: int, ranks: Sequence[int | None], gpus: int, cores: int, environ: Mapping[str, str] | None = None
) -> list[Variables]:
    """`jobs` places for runs of so many ranks (null: one for each GPU there is, or one without).

    UserError where there are too few GPUs. What the user has set of the threads stays.
    """
    environ = os.environ if environ is None else environ
    asked = max((each or 0 for each in ranks), default=0)
    each = asked if gpus and asked else gpus // jobs
    if gpus and (each < 1 or jobs * each > gpus):
        what = f"--jobs {jobs}" + (f" with trainer.ranks={asked}" if asked else "")
        raise UserError(
            f"{what} takes {jobs * max(each, 1)} GPUs, and there are {gpus}; each run needs its own: take "
            f"--jobs {max(gpus // max(asked, 1), 1)}"
        )
    threads = max(cores // (jobs * max(each if gpus else asked, 1)), 1)
    places: list[Variables] = []
    for number in range(jobs):
        place = {} if jobs == 1 or "OMP_NUM_THREADS" in environ else {"OMP_NUM_THREADS": str(threads)}
        if gpus and jobs > 1:
            mine = _visible(gpus, environ)[number * each : (number + 1) * each]
            place["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        places.append(place)
    return places


def _visible(gpus: int, environ: Mapping[str, str]) -> list[str]:
    """Names of the GPUs this process sees, as the variable takes them."""
    given = environ.get("CUDA_VISIBLE_DEVICES")
    return [str(n) for n in range(gpus)] if given is None else given.split(",")[:gpus]
