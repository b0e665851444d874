"""Reward functions of the user in a run: where they print, what they are told, how they are introduced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.several_golds import wants_rows
from rlvr_cli.verifiers.user_code.case import Surroundings

RESPONSE = "<response>"
"""In the place of one, where there is none yet."""


def print_into(verifiers: Mapping[str, Any], folder: Path, who: str) -> None:
    """From their start on, what their functions print goes into `<folder>/<name>.<who>.prints.txt`."""
    for name, verifier in verifiers.items():
        if wants_rows(verifier):
            verifier.prints = str(folder.absolute() / f"{name}.{who}.prints.txt")


def surroundings(
    tokenizer: Any, steps: int = 0, seed: int = 0, trained_by: Iterable[str] = ()
) -> Surroundings:
    """Of a run of so many steps that trains by the verifiers of these names."""
    decode = None if tokenizer is None else partial(tokenizer.decode, skip_special_tokens=False)
    return Surroundings(decode=decode, steps=steps, seed=seed, trained_by=frozenset(trained_by))


def introduced(
    verifiers: Mapping[str, Any], first: Mapping[str, Group], pool: Any, config: Verification
) -> Iterator[str]:
    """How each function of the user is called, and its first call; a line each.

    `first`: name -> a group that it is asked about. UserError where a function asks for a column that the
    rows do not have.
    """
    for name, verifier in verifiers.items():
        if not wants_rows(verifier):
            continue
        case = None
        if name in first:
            group = first[name]
            texts = [completion.text for completion in group.completions]
            case = verifier.case(texts, group.problem.golds, group.problem.extra, group, pool.around)
        for line in verifier.describe(case, config.start_s):
            yield f"{name}: {line}"


def first_asked(problems: Mapping[str, Sequence[Problem]], samples: int) -> dict[str, Group]:
    """Name of a verifier -> the first problem it is asked about, with responses that are not there yet."""
    tokens, logprobs = np.zeros(0, np.int32), np.zeros(0, np.float32)
    completions = [Completion(tokens=tokens, logprobs=logprobs, text=RESPONSE, finished=True)] * samples
    found: dict[str, Group] = {}
    for each in problems.values():
        for problem in each:
            for name in problem.verifiers:
                if name not in found:
                    found[name] = Group(problem=problem, index=0, completions=completions)
    return found
