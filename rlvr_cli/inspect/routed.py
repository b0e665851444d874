"""Whether routing can be looked at: who says which experts the engine took, and who can follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from rlvr_cli.compose.routing import check_routing
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.routers import routers_of
from rlvr_cli.engine.model import load_config
from rlvr_cli.inspect.forwards import Sampled
from rlvr_cli.schema import Model, Recipe, Rollout, RoutingReplay

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
KEY = "rollout.routing_replay"


def is_mixture(config: Any) -> bool:
    text = config.get_text_config()
    return any(getattr(text, name, None) for name in EXPERTS)


def listened_to(recipe: Recipe, model: Model) -> Rollout:
    """The recipe's rollout; of a mixture whose engine can say which experts it takes, one that says it."""
    rollout, config = recipe.rollout, load_config(model)
    if rollout.routing_replay.recorded or not is_mixture(config):
        return rollout
    asked = replace(rollout, routing_replay=RoutingReplay.measure)
    try:
        check_routing(replace(recipe, rollout=asked))
        routers_of(_empty(config), KEY)
    except (ValueError, UserError):  # `why_unrouted` tells
        return rollout
    return asked


def _empty(config: Any) -> Any:
    """The model without its numbers."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def why_unrouted(model: Any, rows: Sequence[Sampled]) -> str:
    """Why the trainer's forward cannot take the engine's experts; "" where it can."""
    if not is_mixture(model.config):
        return "the model has no router"
    try:
        routers_of(model, KEY)
    except UserError as error:
        return str(error)
    if any(row.routes is None for row in rows):
        return (
            f"nobody has recorded which experts the engine took; record them with {KEY}=measure and "
            "tracker.tokens=true, with an engine in the trainer's process"
        )
    lengths = [(row, len(row.prompt) + len(row.response)) for row in rows]
    if any(row.routes is not None and len(row.routes) not in (n - 1, n) for row, n in lengths):
        return "the engine's experts are recorded for other tokens than these: it was asked otherwise"
    return ""
