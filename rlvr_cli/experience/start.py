"""The models of a run: the policy, and the editor, which may be the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import BUILT_IN
from rlvr_cli.engine.model import context_length, load_tokenizer
from rlvr_cli.evaluation.stored_samples import fingerprint, weights_of
from rlvr_cli.experience.models import Model
from rlvr_cli.rollout.chat_server import ChatEngine
from rlvr_cli.sampling.start_model import default_precision, local_model, start_engine, start_server
from rlvr_cli.sampling.user_functions import surroundings
from rlvr_cli.schema import ExperienceRecipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Who samples, who edits, and who is told."""

    policy: Model
    editor: Model
    tokenizer: Any
    """The policy's; None: a server of chat messages."""
    tracker: Tracker | NullTracker


@contextmanager
def start_models(
    recipe: ExperienceRecipe, out: Path, tracker: Tracker | NullTracker, pool: Pool
) -> Iterator[Models]:
    """Started, and closed at the end. UserError for what is not there or does not fit."""
    local = local_model(recipe.model, out, recipe.seed)
    tokenizer = None if recipe.server.chat else load_tokenizer(local)
    pool.around.decode, pool.around.seed = surroundings(tokenizer).decode, recipe.seed
    if recipe.server.url is not None:
        engine, positions = start_server(recipe.server, local, tokenizer), None
    else:
        positions = room_of(recipe, local)
        precision = recipe.rollout.dtype or recipe.precision or default_precision()
        engine = start_engine(
            recipe.rollout, local, tokenizer, recipe.seed, precision, positions, out, tracker.event
        )
    try:
        name = recipe.server.model or recipe.model.path
        if recipe.server.url is None and recipe.model.path not in BUILT_IN:
            name += f" {fingerprint(weights_of(local.path))}"
        policy = Model(
            engine=engine,
            name=name,
            tokenizer=tokenizer,
            positions=positions,
            at_once=recipe.rollout.max_num_seqs,
        )
        editor, other = policy, None
        if recipe.editor.url is not None:
            assert recipe.editor.model is not None
            other = ChatEngine(recipe.editor.server(), model=recipe.editor.model, tokenizer=None)
            editor = Model(
                engine=other, name=recipe.editor.model, tokenizer=None, positions=None, at_once=None
            )
        try:
            yield Models(policy=policy, editor=editor, tokenizer=tokenizer, tracker=tracker)
        finally:
            if other is not None:
                other.close()
    finally:
        engine.close()


def room_of(recipe: ExperienceRecipe, model: Any) -> int:
    """Positions of the engine: what rollouts want, and edits where the model edits too, if it has as many."""
    rollouts = recipe.rollout.max_prompt_tokens + recipe.rollout.max_tokens
    edits = recipe.editor.max_prompt_tokens + recipe.editor.max_tokens if recipe.editor.url is None else 0
    had = context_length(model)
    if had is None:
        return max(rollouts, edits)
    if rollouts > had:
        raise UserError(
            f"rollout.max_prompt_tokens and max_tokens add up to {rollouts}, more than the {had} positions "
            f"of '{recipe.model.path}'; lower one"
        )
    if edits and recipe.editor.max_tokens >= had:
        raise UserError(
            f"editor.max_tokens is {recipe.editor.max_tokens}, and the model that edits, "
            f"'{recipe.model.path}', has {had} positions for question and answer; lower it, or set editor.url"
        )
    return min(had, max(rollouts, edits))
