"""A problem and responses to it, with all that a user's function may ask about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rlvr_cli.core.progress import Progress
from rlvr_cli.core.types import Group
from rlvr_cli.verifiers.user_code.conventions import Spec

Messages = list[dict[str, Any]]
KEY = "rlvr.case"
"""Of `extra` on its way to a worker."""


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """Of the run that a pool belongs to."""

    decode: Callable[[list[int]], str] | None = None
    """Token ids -> text with special tokens; None: the tokenizer is not known here."""
    step: int = 0
    """Finished training steps."""
    steps: int = 0
    """Of the whole run."""
    seed: int = 0
    """Of the run."""
    trained_by: frozenset[str] = frozenset()
    """Names of the verifiers whose scores train: these may be told the run's progress."""

    def progress(self, verifier: str) -> Progress | None:
        """What a verifier that asks for it is told; None: nothing is trained by it here."""
        if verifier not in self.trained_by:
            return None
        return Progress(min(self.step + 1, self.steps), self.steps)


@dataclass(slots=True, kw_only=True)
class Case:
    """What is None is not known, as for responses out of a file."""

    responses: list[str]
    """Special tokens left out."""
    answer: str = ""
    """Gold answer as text; "" where there is none that is one."""
    gold: Any = None
    """As the data set has it."""
    prompt: str | Messages = ""
    """As the data set has it."""
    row: dict[str, Any] = field(default_factory=dict)
    """All columns, as the data set has them."""
    source: str = ""
    index: int = 0
    """Of the group in the run."""
    first: int = 0
    """Place of the first response in its group."""
    prompt_text: str | None = None
    """As the model sees it."""
    prompt_ids: list[int] | None = None
    raw_responses: list[str] | None = None
    """With special tokens."""
    response_ids: list[list[int]] | None = None
    finished: list[bool] | None = None
    step: int = 0
    steps: int = 0


def case_of(
    responses: list[str],
    answer: str,
    extra: Mapping[str, Any],
    group: Group | None,
    around: Surroundings,
    spec: Spec,
) -> Case:
    """The case of a group of a run, or without one of what was handed in; with what `spec` needs alone."""
    row = dict(extra)
    case = Case(
        responses=responses,
        answer=answer,
        gold=answer or None,
        prompt=row.get("prompt", ""),
        row=({"answer": answer} if answer else {}) | row,
        step=around.step,
        steps=around.steps,
    )
    if group is None:
        return case
    problem, completions = group.problem, group.completions
    case.source, case.index = problem.source, group.index
    case.prompt_text = problem.prompt or None
    case.finished = [completion.finished for completion in completions]
    if problem.raw is not None:
        case.row = {name: value for name, value in row.items() if name != "prompt"} | problem.raw.columns
        case.gold = problem.raw.gold
    if not problem.tokens:
        return case
    if spec.ids:
        case.prompt_ids = list(problem.tokens)
        case.response_ids = [completion.tokens.tolist() for completion in completions]
    if spec.special and around.decode is not None:
        case.raw_responses = [around.decode(completion.tokens.tolist()) for completion in completions]
    return case


def single(case: Case, number: int) -> Case:
    """The case of one of its responses."""

    def at(values: list[Any] | None) -> list[Any] | None:
        return None if values is None else [values[number]]

    return replace(
        case,
        responses=[case.responses[number]],
        first=number,
        raw_responses=at(case.raw_responses),
        response_ids=at(case.response_ids),
        finished=at(case.finished),
    )


def with_prefill(case: Case) -> Case:
    """Responses that begin with the `<think>` that their prompt ends in."""
    prompt = case.prompt_text or (case.prompt if isinstance(case.prompt, str) else "")
    if (opened := re.search(r"<think>\s*\Z", prompt)) is None:
        return case
    whole = None if case.raw_responses is None else [opened[0] + each for each in case.raw_responses]
    return replace(case, responses=[opened[0] + each for each in case.responses], raw_responses=whole)


def as_numpy(value: Any) -> Any:
    """Lists as arrays and numbers as numpy's own, as in rows that pandas has read."""
    import numpy as np

    if isinstance(value, dict):
        return {key: as_numpy(each) for key, each in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(each, int | float) for each in value):
            return np.array(value)
        found = np.empty(len(value), dtype=object)
        for place, each in enumerate(value):
            found[place] = as_numpy(each) if isinstance(each, list | dict) else each
        return found
    return np.asarray(value)[()] if isinstance(value, bool | int | float) else value
