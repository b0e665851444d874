"""The environments of a run, played by the turns that they say earn all there is: is that so?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from time import monotonic

from rlvr_cli.core.types import Group, Problem
from rlvr_cli.episodes.driver import Episodes
from rlvr_cli.evaluation.stored_samples import Replay
from rlvr_cli.sampling.collect import gates_of, verified
from rlvr_cli.schema import Unscored
from rlvr_cli.tracking import Timer
from rlvr_cli.training.parts import Parts

FIRST = 8
"""Problems of an environment that are played."""


@dataclass(slots=True, kw_only=True)
class Rehearsal:
    """What became of an environment's own scripts."""

    problems: int
    right: int
    """Problems whose script is correct by the first verifier."""
    score: float
    """Mean over those that have a verdict; NaN: none has."""
    seconds: float
    wrong: str = ""
    """The first problem whose script is not correct, and what was said of it."""

    def __str__(self) -> str:
        return (
            f"scripted turns earn {self.score:.3g}, and are correct on {self.right} of {self.problems} "
            f"problems, in {self.seconds:.1f} s"
        )


def rehearse(parts: Parts) -> dict[str, Rehearsal]:
    """Of each environment with scripts, on the first problems; no engine takes part. On one rank."""
    found: dict[str, Rehearsal] = {}
    if not isinstance(parts.engine, Episodes):
        return found
    for name in parts.recipe.environments:
        everything = [each for items in parts.sampler.items.values() for each in items]
        problems = [each for each in everything if each.environment == name][:FIRST]
        if not problems:
            continue
        began = monotonic()
        played = parts.engine.scripted(problems)
        pairs = [(p, sample) for p, sample in zip(problems, played, strict=True) if sample is not None]
        if not pairs:
            continue
        groups = verified(
            iter([(n, [sample]) for n, (_, sample) in enumerate(pairs)]),
            parts.pool,
            [(n, problem) for n, (problem, _) in enumerate(pairs)],
            engine=Replay({}, []),
            weights=parts.verifier_weights,
            gates=gates_of(parts.recipe.verifiers),
            unscored=Unscored.drop,
            timer=Timer(),
        )
        found[name] = _rehearsal(groups, monotonic() - began)
    return found


def _rehearsal(groups: list[Group], seconds: float) -> Rehearsal:
    scores = [group.scores[0] for group in groups if not math.isnan(group.scores[0])]
    wrong = [group for group in groups if not group.correct[0] >= 1]
    return Rehearsal(
        problems=len(groups),
        right=len(groups) - len(wrong),
        score=fmean(scores) if scores else math.nan,
        seconds=seconds,
        wrong=_said(wrong[0].problem, wrong[0]) if wrong else "",
    )


def _said(problem: Problem, group: Group) -> str:
    first = group.verdicts[0][problem.verifiers[0]]
    episode = group.completions[0].episode
    ended = "" if episode is None else f" after {len(episode.turns)} turns ({episode.ended.value})"
    detail = f", {first.detail}" if first.detail else ""
    return f"problem {problem.id}: {first.reason.value}{ended}{detail}"
