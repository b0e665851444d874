"""Routing replay in a run: the routes of a step's sequences, and what is told of them."""

from __future__ import annotations

import numpy as np

from rlvr_cli.core.types import Group
from rlvr_cli.schema import RoutingReplay
from rlvr_cli.training.parts import Parts


def routes_of(parts: Parts, groups: list[Group]) -> list[np.ndarray] | None:
    """Of every sequence of every sample the engine's routes (`Elsewhere` on ranks that do not train on it);
    None where it was not asked."""
    if not parts.recipe.rollout.routing_replay.recorded:
        return None
    return [row.routes for g in groups for c in g.completions for row in c.rows]


def records_routes(parts: Parts) -> bool:
    """Whether the forward pass before the updates says what they replay."""
    return parts.recipe.rollout.routing_replay is RoutingReplay.r2


def recorded_routes(parts: Parts, sequences: int) -> list[np.ndarray] | None:
    """With R2 the routes of that pass, of the sequences that this rank has."""
    routing = parts.trainer.routing
    if routing is None or not records_routes(parts):
        return None
    return routing.take_recorded(sequences)


def routing_metrics(parts: Parts) -> dict[str, float]:
    """How the trainer's choice of experts differed from the replayed one; all ranks must call it."""
    return {} if parts.trainer.routing is None else parts.trainer.routing.take_metrics()
