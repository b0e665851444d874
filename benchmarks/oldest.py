"""Plugin of staleness.py: each step trains on groups as old as `rollout.max_staleness` allows.

Sampling that runs ahead only reaches the age that the speeds of engine and trainer let it reach. Here a step
waits until all that may be in flight is sampled; as the oldest groups train first, each trains exactly
`max_staleness` steps after it was sampled, from the step of that number on.
"""

from __future__ import annotations

import os

if "RANK" in os.environ:  # where something is trained; the commands before it need no torch
    from rlvr_cli.training import sample_ahead

    Row = sample_ahead.Row
    Parts = sample_ahead.Parts

    def all_here(parts: Parts, rows: list[list[Row]], step: int, missing: int) -> tuple[int, set[int]]:
        """In the place of `wanted_here`."""
        here = {index for _, index, _ in rows[parts.engine.share[0]]}
        return len(here), here

    sample_ahead.wanted_here = all_here
