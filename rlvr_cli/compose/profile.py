"""`rlvr profile`: an RL recipe and the verb's options -> what is measured."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rlvr_cli.compose import load
from rlvr_cli.compose.overrides import apply, parse
from rlvr_cli.compose.strict import Place, build
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import (
    EvalRecipe,
    ProfileRecipe,
    Recipe,
    Rollout,
    RolloutLora,
    RoutingReplay,
    Server,
    Source,
    Transfer,
    WandbMode,
    overlap,
)

SUFFIXES = (".jsonl", ".parquet")
OURS = re.compile(r"[+~]*server\.")
"""Overrides that a training recipe has no keys for."""


def load_profile(
    path_or_name: str | None,
    overrides: list[str],
    *,
    k: int = 16,
    limit: int | None = None,
    file: str | None = None,
    server: str | None = None,
) -> ProfileRecipe:
    """The recipe's model on the recipe's problems, sampled as the recipe samples and judged by its verifiers.

    `limit`: only the first so many problems of each source; `file`: None, a name made from the data's.
    """
    ours = [text for text in overrides if OURS.match(text)]
    recipe = load(path_or_name, [text for text in overrides if text not in ours])
    if not isinstance(recipe, Recipe):
        raise UserError(f"{path_or_name} is a recipe of {recipe.algorithm.name}; take one of an RL algorithm")
    for name, source in recipe.data.items():
        if source.environment is not None:
            raise UserError(
                f"data.{name}.environment: a profile is of one answer to each problem, and these are played "
                "in turns; measure them with rlvr eval and a bench that has the environment"
            )
    for option, number in {"-k": k, "--limit": limit}.items():
        if number is not None and number < 1:
            raise UserError(f"{option} is {number}; it must be at least 1")
    command = parse(ours)
    tree = apply(command.values, {"server": {"url": server} if server is not None else {}})
    settings = build(
        EvalRecipe, tree | {"model": {"path": recipe.model.path}}, Place("command line", command.keys())
    )
    target = Path(file).expanduser() if file is not None else beside(recipe)
    if target.suffix not in SUFFIXES:
        raise UserError(f"-o {file}: a profile is a .jsonl or .parquet file; give a name that ends so")
    shared: dict[str, Any] = {
        field.name: getattr(recipe, field.name)
        for field in fields(ProfileRecipe)
        if hasattr(recipe, field.name)
    }
    rollout = recipe.rollout
    room = max(rollout.gpu_memory_utilization, settings.rollout.gpu_memory_utilization)
    return ProfileRecipe(
        **shared
        | {
            "out": f"{target}.parts",
            "file": str(target),
            "data": {name: _limited(source, limit) for name, source in recipe.data.items()},
            "rollout": engine_of(rollout, room, settings.server),
            "precision": rollout.dtype or recipe.trainer.precision,
            "ranks": None if settings.server.url is not None else recipe.trainer.ranks,
            "server": settings.server,
            "tracker": replace(recipe.tracker, wandb=WandbMode.disabled),
            "k": k,
            "group_size": recipe.batch.group_size,
            "prompts_per_step": recipe.batch.prompts_per_step,
        }
    )


def engine_of(rollout: Rollout, room: float, server: Server) -> Rollout:
    """The recipe's engine, alone on its GPU. A start model has no adapters, and a server needs no ranks."""
    size = rollout.tensor_parallel if server.url is None else 1
    return replace(
        rollout,
        sleep=False,
        gpu_memory_utilization=room,
        tensor_parallel=size,
        lora=RolloutLora.merged,
        max_staleness=0,
        routing_replay=RoutingReplay.none,
        servers=replace(rollout.servers, transfer=Transfer.auto),
        **overlap.DEFAULTS,
    )


def beside(recipe: Recipe) -> Path:
    """`problems.profile.jsonl` beside the only source's `problems.jsonl`, or `<name>.profile.jsonl` here."""
    paths = [Path(source.path).expanduser() for source in recipe.data.values()]
    if len(paths) == 1 and paths[0].is_file():
        return paths[0].with_suffix(".profile.jsonl")
    return Path(f"{recipe.name}.profile.jsonl")


def _limited(source: Source, limit: int | None) -> Source:
    """All that may be trained on, by its own golds, whatever an earlier profile chooses or labels."""
    most = source.limit if limit is None else min(limit, source.limit or limit)
    return replace(source, difficulty=None, labels=None, limit=most)
