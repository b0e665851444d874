"""The teacher of a recipe, whose tokens must be the policy's: refused before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine.model import context_length, load_tokenizer
from rlvr_cli.engine.teacher import Average, Teacher
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import DistillationRecipe, Model, Recipe, TeacherPolicy
from rlvr_cli.training.contexts import check_demonstrations
from rlvr_cli.training.teacher_server import ServerTeacher
from rlvr_cli.training.teaching import Lessons

Taught = Recipe | DistillationRecipe


def make_lessons(
    recipe: Taught, model: Model, tokenizer: Any, trainer: Trainer, on_server: ServerTeacher | None
) -> Lessons | None:
    """The recipe's teacher; None without. All ranks must call it. `on_server`: what `check_teacher`
    returned."""
    option, settings = recipe.algorithm.distillation, recipe.teacher
    if not option.needs_teacher:
        return None
    if on_server is not None:
        return Lessons(on_server, option, vocabulary=len(tokenizer), room=on_server.room)
    teacher: Any
    if settings.path is not None:
        teacher = Teacher(teacher_model(recipe, model), trainer)
    elif settings.policy is TeacherPolicy.ema:
        teacher = Average(model, trainer, settings.ema)
    else:
        live = settings.policy is TeacherPolicy.live
        teacher = Teacher(model, trainer, load=not live and not model.lora.keeps_start, live=live)
    own = model if settings.path is None else teacher_model(recipe, model)
    return Lessons(teacher, option, vocabulary=len(tokenizer), room=context_length(own) or sys.maxsize)


def teacher_model(recipe: Taught, model: Model) -> Model:
    """The policy's settings with the teacher's path."""
    settings = recipe.teacher
    assert settings.path is not None
    return replace(
        model,
        path=settings.path,
        revision=settings.revision,
        overrides={},
        gradient_checkpointing=False,
        chat_template=None,
    )


def check_teacher(
    recipe: Taught,
    model: Model,
    tokenizer: Any,
    room: int,
    event: Callable[[str, str], None],
    sampler: Sampler[Problem] | None = None,
) -> ServerTeacher | None:
    """UserError where the teacher reads other tokens, or fewer than the `room` of a sequence; one on a
    server."""
    settings, option = recipe.teacher, recipe.algorithm.distillation
    if not option.needs_teacher:
        return None
    if isinstance(recipe, Recipe) and sampler is not None:
        check_demonstrations(recipe, sampler)
    if settings.url is not None:
        waits = partial(event, "waiting")
        server = ServerTeacher(settings, option.top_k if option.in_loss else None, waits)
        if distributed.rank() == 0:
            server.check(tokenizer)
        _check_room(recipe, f"teacher.url: '{server.model}'", server.room, room)
        return server
    if settings.path is None:
        return None
    theirs = teacher_model(recipe, model)
    try:
        found = load_tokenizer(theirs)
    except UserError as error:
        raise UserError(str(error).replace("model.path", "teacher.path")) from None
    if said := differing(tokenizer.get_vocab(), found.get_vocab()):
        raise UserError(
            f"teacher.path: the tokens of '{settings.path}' are not those of '{recipe.model.path}': "
            f"{said}; choose a "
            "teacher with the policy's tokenizer"
        )
    _check_room(recipe, f"teacher.path: '{settings.path}'", context_length(theirs), room)
    return None


def _check_room(recipe: Taught, who: str, most: int | None, room: int) -> None:
    if most is None or room <= most:
        return
    what, keys = "prompt and response together", "rollout.max_tokens or rollout.max_prompt_tokens"
    if isinstance(recipe, DistillationRecipe):
        what, keys = "an example", "algorithm.max_length"
    raise UserError(f"{who} reads {most} tokens at most, and {what} may have {room}; lower {keys}")


def differing(ours: Mapping[str, int], theirs: Mapping[str, int]) -> str | None:
    """The first token whose id is not the same in both vocabularies, in words; None: all are."""
    if ours == theirs:
        return None
    for token, number in sorted(ours.items(), key=lambda item: item[1]):
        other = theirs.get(token)
        if other != number:
            return f"{token!r} is {number} here and {'not there' if other is None else f'{other} there'}"
    more = sorted(set(theirs) - set(ours), key=lambda token: theirs[token])
    return f"{len(more)} more there, the first {more[0]!r} ({theirs[more[0]]})"
