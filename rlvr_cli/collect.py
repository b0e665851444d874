"""Prompts -> scored groups: while some groups are still being sampled, finished ones are being verified."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from rlvr_cli.rollout import Engine, Request, Sampling
from rlvr_cli.schema import Unscored
from rlvr_cli.tracking import Timer
from rlvr_cli.types import Group, Problem, Verdict


class Pool(Protocol):
    """What is needed of `verifiers.pool.Pool`."""

    def submit(self, verifier: str, response: str, answer: str, extra: dict[str, Any]) -> Future[Verdict]: ...


class UnscoredSample(RuntimeError):
    """A verifier timed out or crashed and the recipe says `verification.unscored: fail`."""


def request_seed(seed: int, index: int) -> int:
    """Seed of a prompt's samples: the same on any rank, in any batch, on any day."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=7).digest(), "little")


def collect(
    engine: Engine,
    pool: Pool,
    prompts: list[tuple[int, Problem]],
    *,
    samples: int,
    sampling: Sampling,
    seed: int | None,
    weights: dict[str, float],
    unscored: Unscored,
    timer: Timer,
    stopped: Callable[[], bool] = lambda: False,
    finished: Callable[[Group], None] = lambda group: None,
) -> list[Group]:
    """Sample and verify `prompts` ((index, problem) pairs) on this rank; groups come back in their order.

    `weights`: verifier name -> weight in the score. `stopped` is asked between groups; when it answers
    yes the groups finished so far are returned. `finished` is called as each group leaves the engine.
    """
    requests = [
        Request(
            key=n, tokens=p.tokens, samples=samples, seed=None if seed is None else request_seed(seed, index)
        )
        for n, (index, p) in enumerate(prompts)
    ]
    groups: dict[int, tuple[Group, list[dict[str, Future[Verdict]]]]] = {}
    with timer("rollout"):
        for key, completions in engine.generate(requests, sampling):
            index, problem = prompts[key]
            group = Group(problem=problem, index=index, completions=completions)
            futures = [
                {name: pool.submit(name, c.text, problem.answer, problem.extra) for name in problem.verifiers}
                for c in completions
            ]
            groups[key] = group, futures
            finished(group)
            if stopped():
                break
    with timer("verify"):  # what is left of it: most verdicts came in meanwhile
        for group, futures in groups.values():
            group.verdicts = [{name: f.result() for name, f in each.items()} for each in futures]
            score(group, weights, unscored)
    return [groups[key][0] for key in sorted(groups)]


def score(group: Group, weights: dict[str, float], unscored: Unscored) -> None:
    """Fill a verified group's `scores` (weighted sum over verifiers) and `correct` (the first verifier's)."""
    for verdicts in group.verdicts:
        values = {name: value_of(v, unscored, name, group) for name, v in verdicts.items()}
        group.scores.append(sum(weights[name] * value for name, value in values.items()))
        group.correct.append(next(iter(values.values())))


def value_of(verdict: Verdict, unscored: Unscored, name: str, group: Group) -> float:
    if verdict.scored:
        return verdict.score
    if unscored is Unscored.fail:
        raise UnscoredSample(
            f"verifier '{name}' gave no verdict ({verdict.reason.value}) on problem {group.problem.id} "
            f"of '{group.problem.source}', and verification.unscored is fail"
        )
    return math.nan if unscored is Unscored.drop else 0.0
