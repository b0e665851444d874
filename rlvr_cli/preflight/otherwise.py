"""The same problems asked otherwise, where hardly anything is right: is it the prompt or the problem?"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Problem
from rlvr_cli.data.prompts import render
from rlvr_cli.preflight.template import own_template
from rlvr_cli.schema import Chat, Recipe, Source
from rlvr_cli.training.dynamic_sampling import collect_share
from rlvr_cli.training.parts import Parts

PROMPTS = 16
SAMPLES = 4
HARDLY = 0.05
"""Share of right responses below which other ways to ask are tried."""
BETTER = 4
"""Times as many right responses, and HARDLY of all, from which another way is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Another way to ask the problems of a source."""

    words: str
    """What it does, in words."""
    keys: str
    """What to write in the recipe."""
    problems: list[Problem]


def asked_otherwise(parts: Parts, correct: float) -> list[str]:
    """Sentences on other ways to ask that the model answers far better; all ranks must call it.

    Draws from the sampler, which the caller puts back. `correct`: share of right responses by the recipe.
    """
    if parts.tokenizer is None or not correct < HARDLY:
        return []
    recipe = replace(parts.recipe, batch=replace(parts.recipe.batch, group_size=SAMPLES))
    asked = [problem for _, problem in parts.sampler.take(PROMPTS) if _is_plain(problem, recipe)]
    found = []
    for way in ways(asked, recipe, parts.tokenizer):
        groups = collect_share(parts, list(enumerate(way.problems)), recipe)
        right = [
            float(c) for share in distributed.gather([c for g in groups for c in g.correct]) for c in share
        ]
        share = sum(each >= 1 for each in right) / max(1, len(right))
        if share >= max(HARDLY, BETTER * correct):
            found.append(
                f"asked {way.words} the model solves {share:.0%} of the same problems, and as the recipe "
                f"asks {correct:.1%}: it was not trained on this prompt; set {way.keys}"
            )
    return found


def ways(problems: list[Problem], recipe: Recipe, tokenizer: Any) -> Iterator[Way]:
    """Those that give other prompts than the recipe and than each other, for the first one's source."""
    if not problems:
        return
    name = problems[0].source
    source, mine = recipe.data[name], [problem for problem in problems if problem.source == name]
    tried = {tuple(problem.prompt for problem in mine)}
    for words, keys, asked, given in _candidates(name, source, recipe, tokenizer):
        made = [_as(problem, asked, given) for problem in mine]
        texts = tuple(problem.prompt for problem in made)
        longest = max(len(problem.tokens) for problem in made)
        if texts not in tried and longest <= recipe.rollout.max_prompt_tokens:
            tried.add(texts)
            yield Way(words=words, keys=keys, problems=made)


def _candidates(
    name: str, source: Source, recipe: Recipe, tokenizer: Any
) -> Iterator[tuple[str, str, Source, Any]]:
    """Small changes before large ones: (words, keys, source, tokenizer)."""
    bare = replace(source, prompt="{prompt}", system=None, instructions=[])
    data = f"data.{name}"
    alone = f"{data}.prompt='{{prompt}}'" + (f", {data}.system=null" if source.system else "")
    alone += f", {data}.instructions=[]" if source.instructions else ""
    yield "with nothing around the problem", alone, bare, tokenizer
    own, chat = copy(tokenizer), f"{data}.chat=always"
    if recipe.model.chat_template is not None:
        own.chat_template = own_template(recipe.model)
        chat += ", model.chat_template=null"
    if own.chat_template:
        words = "with the model's own chat template"
        yield words, chat, replace(source, chat=Chat.always), own
        yield f"{words} and nothing else", f"{chat}, {alone}", replace(bare, chat=Chat.always), own
    if not source.system:
        yield "without a chat template", f"{data}.chat=never", replace(source, chat=Chat.never), own
    yield "as it stands in the data", f"{data}.chat=never, {alone}", replace(bare, chat=Chat.never), own


def _as(problem: Problem, source: Source, tokenizer: Any) -> Problem:
    row = {"id": problem.id, "prompt": problem.extra["prompt"], "shots": []}
    text, tokens = render(row, source, tokenizer)
    return replace(problem, prompt=text, tokens=tokens)


def _is_plain(problem: Problem, recipe: Recipe) -> bool:
    """Text to one answer, with nothing before it that is not in `extra`."""
    source = recipe.data[problem.source]
    return (
        problem.environment is None
        and isinstance(problem.extra.get("prompt"), str)
        and source.shots == 0
        and min(problem.tokens, default=-1) >= 0
    )
