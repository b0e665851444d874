"""What fits together of the keys that say where the rollout engine lives."""

from __future__ import annotations

from dataclasses import fields

from rlvr_cli.schema import EvalRecipe, Placement, Recipe, Rollout, RolloutEngine, Servers, Transfer


def check_placement(recipe: Recipe | EvalRecipe) -> None:
    """ValueError for servers of an engine that has none, and for settings of servers that are not there."""
    rollout = recipe.rollout
    if rollout.placement is Placement.in_process:
        _check_no_servers(rollout)
        return
    if rollout.engine is not RolloutEngine.vllm:
        raise ValueError(
            f"rollout.placement=servers is for vLLM, and rollout.engine is {rollout.engine.value}; set "
            "rollout=vllm, or rollout.placement=in_process"
        )
    _check_gpus(rollout)
    if isinstance(recipe, EvalRecipe):
        if rollout.servers.transfer is not Transfer.auto:
            raise ValueError(
                "rollout.servers.transfer is how new weights come to servers, and rlvr eval sends none; "
                "leave it out"
            )
        if recipe.server.url or recipe.rescore:
            raise ValueError(
                "rollout.placement=servers starts servers of vLLM, and here "
                + (f"{recipe.server.url} samples" if recipe.server.url else "nothing is sampled")
                + "; leave it out"
            )
    elif recipe.trainer.sleep:
        raise ValueError(
            "trainer.sleep makes room for an engine on the same GPU; with rollout.placement=servers it "
            "has GPUs of its own: leave trainer.sleep out"
        )


def _check_no_servers(rollout: Rollout) -> None:
    changed = [
        f.name for f in fields(Servers) if getattr(rollout.servers, f.name) != getattr(Servers(), f.name)
    ]
    if changed:
        raise ValueError(
            f"rollout.servers.{changed[0]} is set, but rollout.placement is in_process, which has none; "
            "set rollout.placement=servers, or leave it out"
        )


def _check_gpus(rollout: Rollout) -> None:
    servers, width = rollout.servers, rollout.tensor_parallel
    needed = servers.started(width) * width
    if servers.gpus and len(servers.gpus) != needed:
        raise ValueError(
            f"rollout.servers.gpus has {len(servers.gpus)} GPUs, and {servers.started(width)} servers of "
            f"rollout.tensor_parallel={width} need {needed}"
        )
