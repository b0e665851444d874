"""Rollouts of a step: problems asked with the library before them, verdicts, and which groups can teach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.data.experiences import Library
from rlvr_cli.data.prompts import as_messages, render
from rlvr_cli.experience.calls import Answer, Call, Ledger, Till, digest
from rlvr_cli.experience.models import Model
from rlvr_cli.rollout import Sampling
from rlvr_cli.sampling.collect import gates_of, request_seed, score, submitted
from rlvr_cli.schema import ExperienceRecipe
from rlvr_cli.verifiers.outage import result
from rlvr_cli.verifiers.pool import Pool

Drawn = list[tuple[int, Problem]]
"""(running index, problem)"""


@dataclass(slots=True, kw_only=True)
class Asked:
    """A problem of a step as the model is asked it."""

    index: int
    problem: Problem
    calls: list[Call]
    """One for each rollout."""


def name_of(problem: Problem) -> str:
    """What calls and history call it."""
    return f"{problem.source}:{problem.id}"


def asked(
    recipe: ExperienceRecipe, policy: Model, library: Library, step: int, drawn: Drawn
) -> tuple[list[Asked], list[str]]:
    """The step's problems with the library before them, and the names of those that do not fit with it."""
    sampling = Sampling.of(recipe.rollout, logprobs=False)
    found, too_long = [], []
    for index, problem in drawn:
        row = {"prompt": problem.extra["prompt"], "shots": []}
        source = recipe.data[problem.source]
        prompt: Any
        tokens: list[int] = []
        if policy.tokenizer is None:
            prompt = as_messages(row, source, library)
        else:
            prompt, tokens = render(row, source, policy.tokenizer, library=library)
        if len(tokens) > recipe.rollout.max_prompt_tokens:
            too_long.append(name_of(problem))
            continue
        seed = request_seed(recipe.seed, index) if recipe.rollout.seeded else None
        calls = []
        for sample in range(recipe.batch.group_size):
            own = None if seed is None else seed + sample
            call = policy.of_prompt(f"{step}/rollout/{index}/{sample}", prompt, tokens, sampling, own)
            assert call is not None  # the room of the engine is at least that of the prompts
            calls.append(call)
        found.append(Asked(index=index, problem=problem, calls=calls))
    return found, too_long


def sampled(till: Till, policy: Model, questions: list[Asked]) -> list[Group]:
    """A group for each problem, in their order, not judged yet."""
    answers = till.answers(policy, "rollouts", [call for each in questions for call in each.calls])
    return [
        Group(
            problem=replace(each.problem, tokens=[]),  # or functions were told of ids that nobody knows
            index=each.index,
            completions=[completion_of(answers[call.name]) for call in each.calls],
        )
        for each in questions
    ]


def completion_of(answer: Answer) -> Completion:
    """Its token ids are not known; their number is."""
    return Completion(
        tokens=np.zeros(answer.tokens, np.int32),
        logprobs=np.zeros(0, np.float32),
        text=answer.text,
        finished=answer.finished,
    )


def judged(
    recipe: ExperienceRecipe,
    pool: Pool,
    ledger: Ledger,
    step: int,
    groups: list[Group],
    say: Callable[[str], None],
) -> list[Group]:
    """The groups with verdicts and scores; a verdict is in the ledger before it is used."""
    weights = {name: verifier.weight for name, verifier in recipe.verifiers.items()}
    gates = gates_of(recipe.verifiers)
    for group, verdicts in _verdicts(recipe, pool, ledger, step, groups, say):
        group.verdicts = verdicts
        score(group, weights, recipe.verification.unscored, gates)
    return groups


Verdicts = list[dict[str, Verdict]]


def _verdicts(
    recipe: ExperienceRecipe,
    pool: Pool,
    ledger: Ledger,
    step: int,
    groups: list[Group],
    say: Callable[[str], None],
) -> Iterator[tuple[Group, Verdicts]]:
    """Those that are there first are asked for together, so that workers and servers judge side by side."""
    waiting = []
    for group in groups:
        problem = group.problem
        how = {name: asdict(recipe.verifiers[name]) for name in problem.verifiers}
        mark = digest([each.text for each in group.completions], problem.golds, how)
        name = f"{step}/verdict/{group.index}"
        row = ledger.find(name, mark)
        if row is None:
            futures = submitted(pool, group.index, problem, group.completions)[1]
            waiting.append((group, name, mark, futures))
        else:
            yield group, [_read(each) for each in row["verdicts"]]
    for group, name, mark, futures in waiting:
        verdicts = [
            {verifier: result(each[n], pool, say) for verifier, each in futures.items()}
            for n in range(len(group.completions))
        ]
        # What is missing today may be there tomorrow: it is asked for again by who goes on.
        if not any(each.missing for by in verdicts for each in by.values()):
            ledger.keep(name, mark, problem=name_of(group.problem), verdicts=list(map(_written, verdicts)))
        yield group, verdicts


def _written(verdicts: dict[str, Verdict]) -> dict[str, Any]:
    return {
        name: {"score": v.score, "reason": v.reason.value, "extracted": v.extracted, "detail": v.detail}
        | ({"raw": True} if v.raw else {})
        | ({"judged": v.judged} if v.judged is not None else {})
        for name, v in verdicts.items()
    }


def _read(row: dict[str, Any]) -> dict[str, Verdict]:
    return {name: Verdict(**each | {"reason": Reason(each["reason"])}) for name, each in row.items()}


def comparable(group: Group) -> list[int]:
    """Its rollouts that say something and have a score."""
    pairs = zip(group.completions, group.scores, strict=True)
    return [n for n, (each, value) in enumerate(pairs) if each.text.strip() and not math.isnan(value)]


def teaches(group: Group, members: list[int], ground_truth: bool) -> bool:
    """Whether rollouts differ: with gold answers in score, without them any two may.

    Of scores 0 and 1 it is the published filter, 0 < mean < 1.
    """
    values = {group.scores[n] for n in members}
    return len(members) > 1 and (not ground_truth or len(values) > 1)
