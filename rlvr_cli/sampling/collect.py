"""Prompts -> scored groups: while some groups are still being sampled, finished ones are being verified."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from rlvr_cli.core.errors import Hopeless
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.rollout import Generator, Request, Sampling
from rlvr_cli.rollout.engine import derived_seed
from rlvr_cli.schema import Unscored
from rlvr_cli.tracking import Timer
from rlvr_cli.verifiers.outage import result
from rlvr_cli.verifiers.several_golds import Golds


class Pool(Protocol):
    """What is needed of `verifiers.pool.Pool`."""

    def submit_group(
        self,
        verifier: str,
        responses: list[str],
        answer: Golds,
        extra: dict[str, Any],
        group: Group | None = None,
    ) -> list[Future[Verdict]]: ...

    def notice(self) -> str | None: ...


class OffScale(Hopeless):
    """A value that a setting of the recipe cannot take; says whose, and what to do."""


class UnscoredSample(RuntimeError):
    """A verifier timed out or crashed and the recipe says `verification.unscored: fail`."""


def request_seed(seed: int, index: int) -> int:
    """Seed of a prompt's samples: the same on any rank, in any batch, on any day."""
    return derived_seed(f"{seed}:{index}")


def collect(
    engine: Generator,
    pool: Pool,
    prompts: list[tuple[int, Problem]],
    *,
    samples: int,
    sampling: Sampling,
    seed: int | None,
    weights: dict[str, float],
    unscored: Unscored,
    timer: Timer,
    gates: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
    finished: Callable[[Group], None] = lambda group: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Group]:
    """Sample and verify `prompts` ((index, problem) pairs) on this rank; groups come back in their order.

    None do where the rank only helps another one to sample them.

    `weights`: verifier name -> weight in the score; `gates`: those that multiply it. `stopped` is asked
    between groups; when it answers yes the groups finished so far are returned. `finished` is called as
    each group leaves the engine; `say` is told when a verifier's server begins to be waited for.
    """
    requests = [
        Request(
            key=n,
            tokens=p.tokens,
            samples=samples,
            seed=None if seed is None else request_seed(seed, index),
            messages=p.messages,
            problem=p,
        )
        for n, (index, p) in enumerate(prompts)
    ]
    return verified(
        engine.generate(requests, sampling),
        pool,
        prompts,
        engine=engine,
        weights=weights,
        unscored=unscored,
        timer=timer,
        gates=gates,
        stopped=stopped,
        finished=finished,
        say=say,
    )


def verified(
    generated: Iterator[tuple[int, list[Completion]]],
    pool: Pool,
    prompts: list[tuple[int, Problem]] | dict[int, tuple[int, Problem]],
    *,
    engine: Generator,
    weights: dict[str, float],
    unscored: Unscored,
    timer: Timer,
    gates: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
    finished: Callable[[Group], None] = lambda group: None,
    say: Callable[[str], None] = lambda text: None,
    phase: str = "rollout",
) -> list[Group]:
    """Groups of what `engine` yields, (place or key in `prompts`, completions), verified while it goes on.


    The wait for the engine counts as `phase`, what is left of verifying as "verify".
    """
    groups: dict[int, tuple[Group, dict[str, list[Future[Verdict]]]]] = {}
    with timer(phase):
        for key, completions in generated:
            if engine.leader:
                groups[key] = submitted(pool, *prompts[key], completions)
                finished(groups[key][0])
            heart.beat()
            if engine.agreed(stopped()):
                break
    with timer("verify"):  # what is left of it: most verdicts came in meanwhile
        missing = sum(len(each) for _, futures in groups.values() for each in futures.values())
        for group, futures in groups.values():
            heart.verdicts(missing)
            missing -= sum(map(len, futures.values()))
            group.verdicts = [
                {name: verdict_of(c, result(each[n], pool, say)) for name, each in futures.items()}
                for n, c in enumerate(group.completions)
            ]
            score(group, weights, unscored, gates)
    return [groups[key][0] for key in sorted(groups)]


def verdict_of(completion: Completion, verdict: Verdict) -> Verdict:
    """A verifier's, or that there is none: what an environment has failed in is nobody's to judge."""
    failure = completion.episode.failure if completion.episode is not None else None
    return verdict if failure is None else failure


def submitted(
    pool: Pool, index: int, problem: Problem, completions: list[Completion]
) -> tuple[Group, dict[str, list[Future[Verdict]]]]:
    """A group, and the verdicts to come of each verifier."""
    group = Group(problem=problem, index=index, completions=completions)
    first: dict[Any, int] = {}  # a leaf of a tree that stands at several places is judged once
    places = [first.setdefault(c.path or n, len(first)) for n, c in enumerate(completions)]
    judged = group
    if len(first) < len(completions):
        judged = replace(group, completions=[completions[places.index(n)] for n in range(len(first))])
    texts = [c.text for c in judged.completions]
    found = {
        name: pool.submit_group(name, texts, problem.golds_of(name), problem.extra, judged)
        for name in problem.verifiers
    }
    return group, {name: [futures[n] for n in places] for name, futures in found.items()}


def gates_of(verifiers: Mapping[str, Any]) -> list[str]:
    """Names of the verifiers that multiply a score instead of adding to it."""
    return [name for name, verifier in verifiers.items() if getattr(verifier, "gate", False)]


def score(group: Group, weights: dict[str, float], unscored: Unscored, gates: Collection[str] = ()) -> None:
    """Fill a verified group's `scores` and their `parts`, and `correct` and `first_scores` (the first
    verifier's).

    A score is the weighted sum over the verifiers that are no gates, times the score of each gate. One that
    has no say is no part of it; where none has, there is no score.
    """
    mixed = any(verdict.raw and verdict.scored for each in group.verdicts for verdict in each.values())
    for verdicts in group.verdicts:
        saying = {name: v for name, v in verdicts.items() if v.reason is not Reason.no_say}
        values = {name: value_of(v, unscored, name, group) for name, v in saying.items()}
        passed = math.prod(gated(name, value, group) for name, value in values.items() if name in gates)
        scoring = {name: weights[name] * value for name, value in values.items() if name not in gates}
        group.scores.append(sum(scoring.values()) * passed if scoring else math.nan)
        group.parts.append({name: value * passed for name, value in scoring.items()})
        if mixed:
            raw = [name for name in scoring if verdicts[name].raw and verdicts[name].scored]
            mapped = [value for name, value in scoring.items() if name not in raw]
            group.scales.append(
                (sum(mapped) * passed if mapped else None, sum(scoring[name] for name in raw) * passed)
            )
        if not values:
            group.correct.append(math.nan)
            group.first_scores.append(math.nan)
            continue
        first = next(iter(values))
        verdict = verdicts[first]
        group.correct.append(float(verdict.reason is Reason.correct) if verdict.scored else math.nan)
        judged = verdict.judged if verdict.scored else None
        group.first_scores.append(values[first] if judged is None else judged)


def gated(name: str, value: float, group: Group) -> float:
    """The value of a gate. OffScale where it would not only let through or hold back."""
    if value < 0 or value > 1:
        raise OffScale(
            f"verifiers.{name} is a gate and gave {value:g} on problem {group.problem.id} of "
            f"'{group.problem.source}'; a gate multiplies and takes values from 0 to 1: set gate=false, or "
            "let the function return such values"
        )
    return value


def value_of(verdict: Verdict, unscored: Unscored, name: str, group: Group) -> float:
    if verdict.scored:
        return verdict.score
    if unscored is Unscored.fail:
        raise UnscoredSample(
            f"verifier '{name}' gave no verdict ({verdict.reason.value}) on problem {group.problem.id} "
            f"of '{group.problem.source}', and verification.unscored is fail"
        )
    return math.nan if unscored is Unscored.drop else 0.0
