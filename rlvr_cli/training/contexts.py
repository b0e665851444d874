"""What a teacher reads and the policy does not: a demonstration, or a successful answer of the same group.

Only the rank that has sampled a group has its texts. It makes the prompts of all its samples, and every rank
is told of all of them. Self-distillation: SDFT (2601.19897) with demonstrations, SDPO (2601.20802) with
siblings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Group, Problem
from rlvr_cli.data.prompts import render
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.schema import Context, Recipe, Source, Teacher
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.teaching import Prompts

THINKING = "</think>"


def teacher_prompts(parts: Parts, kept: list[Group], mine: list[Group]) -> Prompts | None:
    """Ids of what the teacher reads before each sample of the kept groups, in order; None: that sample has no
    context. None as a whole: it reads what the policy reads. All ranks must call it."""
    recipe, settings = parts.recipe, parts.recipe.teacher
    if parts.lessons is None or settings.context is Context.none:
        return None
    wanted = {group.index for group in kept}
    room = parts.lessons.room - recipe.rollout.max_tokens
    found: dict[tuple[int, int], np.ndarray] = {}
    for group in (g for g in mine if g.index in wanted):
        source = recipe.data[group.problem.source]
        for sample in range(len(group.completions)):
            context = context_of(settings, group, sample)
            tokens = (
                []
                if context is None
                else prompt_of(settings, group.problem, context, source, parts.tokenizer)
            )
            if 0 < len(tokens) <= room:
                found[group.index, sample] = np.asarray(tokens, np.int32)
    told = {key: ids for share in distributed.gather(found) for key, ids in share.items()}
    return [told.get((group.index, s)) for group in kept for s in range(len(group.completions))]


def context_of(settings: Teacher, group: Group, sample: int) -> str | None:
    """What the teacher knows of one sample's problem; None: no more than the policy."""
    if settings.context is Context.demonstration:
        return demonstration(settings.column, group.problem)
    shown = sibling(settings, group, sample)
    said = feedback(group, sample) if settings.feedback else None
    parts = [*([shown] if shown else []), *([f"Feedback on an earlier attempt: {said}"] if said else [])]
    return "\n\n".join(parts) or None


def demonstration(column: str, problem: Problem) -> str | None:
    """A problem's own column as text, `answer` its gold answer; None where it has none."""
    value: Any = problem.answer if column == "answer" else problem.extra.get(column)
    return str(value) if value not in (None, "") else None


def sibling(settings: Teacher, group: Group, sample: int) -> str | None:
    """The first other answer of the group that was successful, never the sample's own."""
    for other, score in enumerate(group.first_scores):
        if other == sample or not score >= settings.threshold:  # NaN: without a verdict
            continue
        text = group.completions[other].text
        if settings.remove_thinking:
            text = text.rpartition(THINKING)[2]
        if text.strip():
            return text.strip()
    return None


def feedback(group: Group, sample: int) -> str | None:
    """What the first verifier said of a sample that is not right."""
    if group.correct[sample] == 1 or not group.verdicts:
        return None
    return next(iter(group.verdicts[sample].values())).detail or None


def prompt_of(settings: Teacher, problem: Problem, context: str, source: Source, tokenizer: Any) -> list[int]:
    """The problem with the context around it, in the source's own template and the chat template."""

    def around(text: str) -> str:
        return settings.template.replace("{prompt}", text).replace("{context}", context)

    asked = problem.extra["prompt"]
    if isinstance(asked, str):
        return render({"prompt": around(asked)}, source, tokenizer)[1]
    last = max(i for i, message in enumerate(asked) if message["role"] == "user")
    messages = [dict(message) for message in asked]
    messages[last]["content"] = around(messages[last]["content"])
    return render({"prompt": messages}, source, tokenizer)[1]


def check_demonstrations(recipe: Recipe, sampler: Sampler[Problem]) -> None:
    """UserError where no problem of a source has the column that is to be shown."""
    settings = recipe.teacher
    if settings.context is not Context.demonstration:
        return
    for name, problems in sampler.items.items():
        if recipe.data[name].teacher_weight and not any(demonstration(settings.column, p) for p in problems):
            known = sorted({key for problem in problems[:100] for key in problem.extra} - {"prompt"})
            raise UserError(
                f"teacher.column: no problem of data.{name} has '{settings.column}' (they have: "
                f"{', '.join(['answer', *known])}); set another, or data.{name}.teacher_weight=0"
            )
