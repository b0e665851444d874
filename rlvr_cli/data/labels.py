"""Majority labels in the place of gold answers: which problems have one, and which are trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.profiles import key_of
from rlvr_cli.schema import Labels, LabelsKept


def labelled(
    name: str,
    settings: Labels,
    problems: Sequence[Problem],
    labels: Mapping[str, tuple[str | None, bool]],
    fault: Callable[[Problem, str], str | None],
) -> tuple[list[Problem], str]:
    """The problems of a source that train, each with its label, and what is to be said of all.

    `labels`: a problem's key -> (label, whether it is right); `fault` says why the problem's first verifier
    cannot use a label. UserError where nothing is left.
    """
    kept, left, wrong = list[Problem](), Counter[str](), 0
    for problem in problems:
        if (found := labels.get(key_of(problem))) is None:
            left[f"not in {settings.file}"] += 1
            continue
        label, right = found
        if label is None:
            left["without an answer of any sample"] += 1
        elif fault(problem, label) is not None:
            left[f"with a label that {problem.verifiers[0]} cannot use"] += 1
        elif right and settings.keep is LabelsKept.wrong:
            left["whose label is right"] += 1
        else:
            problem.label = label
            kept.append(problem)
            wrong += not right
    said = "".join(f", {count} {what}" for what, count in left.items())
    if not kept:
        raise UserError(
            f"data.{name}.labels: nothing is left of {len(problems)} problems{said}; label these problems "
            "with `rlvr profile`, or set keep=all"
        )
    return kept, f"{name}: {len(kept)} of {len(problems)} problems by majority label, {wrong} wrong{said}"


def identity(problems: Sequence[Problem]) -> str:
    """Of the labels: a run that goes on must have the same."""
    digest = hashlib.blake2b(digest_size=8)
    for problem in problems:
        digest.update(f"{key_of(problem)}\0{problem.label}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
