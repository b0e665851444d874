"""What fits a rollout engine that several ranks run, that is sent adapters alone, or that says its routes."""

from __future__ import annotations

from rlvr_cli.compose.routing import check_routing
from rlvr_cli.schema import EvalRecipe, LoraInit, Recipe, RolloutLora

LARGEST_ADAPTER = 512
"""Rank up to which vLLM 0.32 takes adapters (`MaxLoRARanks` of vllm/config/lora.py)."""


def check_engines(recipe: Recipe | EvalRecipe) -> None:
    """ValueError, one line, where `rollout.tensor_parallel`, `rollout.lora` or `rollout.routing_replay`
    does not fit the rest.

    How many ranks there are is known to `launch.prerequisites.check_split` alone.
    """
    rollout = recipe.rollout
    if isinstance(recipe, EvalRecipe):
        idle = "nothing is sampled" if recipe.rescore else "a server samples" if recipe.server.url else None
        if rollout.tensor_parallel > 1 and idle:
            raise ValueError(
                f"rollout.tensor_parallel is {rollout.tensor_parallel}, but {idle} and no engine is started; "
                "leave it out"
            )
    if rollout.lora is RolloutLora.adapter:
        _check_adapter(recipe)
    check_routing(recipe)


def _check_adapter(recipe: Recipe | EvalRecipe) -> None:
    if isinstance(recipe, EvalRecipe):
        raise ValueError(
            "rollout.lora=adapter is for training; what is evaluated has its adapters merged in: leave it out"
        )
    rank = recipe.model.lora.rank
    if not rank:
        raise ValueError(
            "rollout.lora=adapter, but model.lora.rank is 0: nothing is trained in adapters; set "
            "model.lora.rank, or leave it out"
        )
    if rank > LARGEST_ADAPTER:
        raise ValueError(
            f"rollout.lora=adapter takes adapters up to rank {LARGEST_ADAPTER}, model.lora.rank is {rank}; "
            "set rollout.lora=merged"
        )
    lora = recipe.model.lora
    if lora.dora:
        raise ValueError(
            "rollout.lora=adapter does not go with model.lora.dora, which vLLM does not compute; set "
            "rollout.lora=merged"
        )
    if lora.init is LoraInit.pissa:
        raise ValueError(
            "rollout.lora=adapter does not go with model.lora.init=pissa: the engine keeps the start model, "
            "and these adapters belong to what they left of it; set rollout.lora=merged"
        )
