"""Rows of a file of responses as groups, for verifiers that are asked about whole rows (`python`) or compare
the responses to a problem (`pairwise`, `majority`)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Completion, Group, Problem, Verdict
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.several_golds import wants_rows

Case = dict[str, Any]


def grouped(cases: list[Case]) -> list[list[int]]:
    """Places of the rows of each problem: of one id where the file has ids, else of one prompt and gold.

    A row with neither is a group of its own.
    """
    found: dict[Any, list[int]] = {}
    for place, case in enumerate(cases):
        prompt = case["extra"].get("prompt")
        key: Any = place
        if case["named"]:
            key = case["id"]
        elif prompt:
            key = repr((prompt, case["raw"].gold))
        found.setdefault(key, []).append(place)
    return list(found.values())


def compares(verifier: Any) -> bool:
    """Whether it judges the responses to a problem together."""
    if wants_rows(verifier):
        return bool(verifier.together)
    return hasattr(verifier, "verify_group") or bool(getattr(verifier, "whole_groups", False))


def group_of(cases: list[Case], source: str) -> Group:
    """What a run would have had; token ids are not known."""
    first = cases[0]
    problem = Problem(
        id=first["id"],
        prompt="",
        tokens=[],
        answer=first["answer"],
        alternatives=first["alternatives"],
        source=source,
        verifiers=[],
        extra=first["extra"],
        raw=first["raw"],
    )
    nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    completions = [
        Completion(tokens=nothing[0], logprobs=nothing[1], text=case["response"], finished=True)
        for case in cases
    ]
    return Group(problem=problem, index=0, completions=completions)


def submit(pool: Pool, name: str, verifier: Any, cases: list[Case], source: str) -> list[Future[Verdict]]:
    """The verdicts on all rows: problem by problem where the verifier judges so, else row by row.

    UserError where it compares and has nothing to compare.
    """
    parts = grouped(cases) if compares(verifier) else [[place] for place in range(len(cases))]
    if getattr(verifier, "whole_groups", False) and all(len(places) == 1 for places in parts):
        raise UserError(
            f"'{name}' compares the responses to one problem, and each of these {len(cases)} rows is the "
            "only one of its problem; rows of a problem have the same `id`, or the same prompt and answer"
        )
    futures: dict[int, Future[Verdict]] = {}
    for places in parts:
        group = group_of([cases[place] for place in places], source)
        texts = [completion.text for completion in group.completions]
        problem = group.problem
        # Only for what reads it: all rows of a file stand at one place, by which `random` would draw alike.
        told = group if wants_rows(verifier) else None
        found = pool.submit_group(name, texts, problem.golds, problem.extra, told)
        futures |= dict(zip(places, found, strict=True))
    return [futures[place] for place in range(len(cases))]
