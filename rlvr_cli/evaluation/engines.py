"""What an evaluation samples from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rlvr_cli.core.types import Problem
from rlvr_cli.engine.model import eos_ids, load_tokenizer
from rlvr_cli.evaluation.bench import with_stops
from rlvr_cli.evaluation.probing import read_by
from rlvr_cli.rollout import Engine
from rlvr_cli.sampling.environments import Environments
from rlvr_cli.sampling.start_model import default_precision, start_engine, start_server
from rlvr_cli.schema import EvalRecipe, Model, SelectBy, Transfer
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.vision.album import album
from rlvr_cli.vision.exact import demand_same_images
from rlvr_cli.vision.processor import processor_of
from rlvr_cli.vision.refusals import sees


def tokenizer_of(recipe: EvalRecipe, model: Model) -> Any:
    """The model's; None for a chat server, which has its own, unless it is to be sent images: these go there
    as the model's processor on this side makes them."""
    return None if recipe.server.chat and not sees(model) else load_tokenizer(model)


def asked_of(problem: Problem) -> tuple[Any, ...]:
    """What a problem's samples are samples of."""
    images = album.keys(problem.tokens)
    return (problem.id, problem.tokens or problem.messages, *([images] if images else []))


def engine_of(
    recipe: EvalRecipe,
    model: Model,
    tokenizer: Any,
    context: int,
    out: Path,
    environments: Environments,
    tracker: Tracker | NullTracker,
) -> Engine:
    """What samples: an engine with room for `context` tokens, or a server; read by a verifier where one
    selects."""
    demand_same_images(processor_of(tokenizer))
    if recipe.server.url is not None:
        return start_server(recipe.server, model, tokenizer)
    precision = recipe.rollout.dtype or recipe.precision or default_precision()
    rollout = with_stops(recipe.rollout, recipe.benches, environments.stops())
    alone = replace(rollout.servers, transfer=Transfer.memory)  # they are sent nothing: no group is needed
    rollout = replace(rollout, servers=alone)
    probed = recipe.select.by is SelectBy.otv
    engine = start_engine(
        rollout, model, tokenizer, recipe.seed, precision, context, out, tracker.event, probed=probed
    )
    if probed:
        engine = read_by(recipe.select, engine, model, precision)
    return environments.engine(engine, tokenizer, eos_ids(model.path, tokenizer), context - 1)
