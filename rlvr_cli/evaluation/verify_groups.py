"""Rows of a file of responses as groups, for verifiers that are asked about whole rows (`python`)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np

from rlvr_cli.core.types import Completion, Group, Problem, Verdict
from rlvr_cli.verifiers.pool import Pool

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
    """The verdicts on all rows: problem by problem where the function judges so, else row by row."""
    parts = grouped(cases) if verifier.together else [[place] for place in range(len(cases))]
    futures: dict[int, Future[Verdict]] = {}
    for places in parts:
        group = group_of([cases[place] for place in places], source)
        texts = [completion.text for completion in group.completions]
        problem = group.problem
        found = pool.submit_group(name, texts, problem.golds, problem.extra, group)
        futures |= dict(zip(places, found, strict=True))
    return [futures[place] for place in range(len(cases))]
