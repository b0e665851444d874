"""What policy and reference say of a step's samples before its updates."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rlvr_cli.core.types import Group
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.routing import recorded_routes, records_routes, routes_of

Scored = tuple[Tensor | None, Tensor | None, Tensor | None]


def score(
    parts: Parts,
    groups: list[Group],
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    owners: list[int] | None,
) -> tuple[Scored, list[np.ndarray] | None]:
    """Old logprobs, entropies and reference logprobs, each only where the algorithm needs it; and the
    routes that the updates follow."""
    old_N = entropies_N = ref_N = None
    routes = routes_of(parts, groups)
    if parts.needs_old:
        with parts.timer("old_logprobs"):
            old_N, entropies_N, _ = parts.trainer.score(
                sequences, trained, owners=owners, routes=routes, records=records_routes(parts)
            )
    if parts.reference is not None:
        with parts.timer("ref_logprobs"):
            ref_N = parts.reference.logprobs(sequences, trained, owners=owners)
    return (old_N, entropies_N, ref_N), recorded_routes(parts, len(sequences)) or routes
