"""One benchmark: k samples per problem, verified. Training and `rlvr eval` run this same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group, Problem
from rlvr_cli.data.prompts import problems
from rlvr_cli.evaluation.scores import summarise
from rlvr_cli.evaluation.stored_samples import Partial, Replay, fields
from rlvr_cli.rollout import Engine, Generator, Sampling
from rlvr_cli.sampling.collect import collect
from rlvr_cli.schema import Bench, Rollout, Unscored
from rlvr_cli.tracking import Timer
from rlvr_cli.verifiers.pool import Pool


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """Result of one benchmark."""

    summary: dict[str, float]
    rows: list[dict[str, Any]]
    """One per problem, in the order of its source."""


def verifier_key(bench: str) -> str:
    """Name under which the pool knows a bench's own verifier."""
    return f"eval.{bench}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The problems of a bench as a model is asked them."""

    problems: list[Problem]
    left_out: int
    """Problems whose prompt does not fit: no part of the score, so it must be seen beside it."""


def prompt_limit(bench: Bench, rollout: Rollout) -> int:
    """Longest prompt that is asked, in tokens."""
    return rollout.max_prompt_tokens if bench.max_prompt_tokens is None else bench.max_prompt_tokens


def positions(benches: Mapping[str, Bench], rollout: Rollout) -> int:
    """Longest prompt and response together, over all benches."""
    return max((prompt_limit(b, rollout) + b.max_tokens for b in benches.values()), default=0)


def with_stops(rollout: Rollout, benches: Mapping[str, Bench]) -> Rollout:
    """What an engine for these benches is started with: it must know whether stop strings will come."""
    return replace(rollout, stop=[*rollout.stop, *(s for b in benches.values() for s in b.stop)])


def questions(name: str, bench: Bench, tokenizer: Any, limit: int, remedy: str | None = None) -> Questions:
    """Read and render a bench; `remedy` is what to do when no prompt fits into `limit` tokens."""
    remedy = remedy or f"raise benches.{name}.max_prompt_tokens"
    found, report = problems(name, bench.source, tokenizer, limit, bench.seed, remedy)
    return Questions(problems=found, left_out=report.too_long)


def shortfalls(section: str, name: str, bench: Bench, limit: int, summary: dict[str, float]) -> Iterator[str]:
    """Why a score is not of the whole bench, a line each; `section` of the recipe has it under its name."""
    asked = summary["problems"] + summary["left_out"]
    if summary["left_out"]:
        yield (
            f"{name}: the prompts of {summary['left_out']:.0f} of {asked:.0f} problems are longer than "
            f"{limit} tokens and left out; raise {section}.{name}.max_prompt_tokens"
        )
    if bench.problems is not None and asked != bench.problems:
        yield f"{name} has {bench.problems} problems, {asked:.0f} were found"


def run_bench(
    name: str,
    bench: Bench,
    engine: Engine,
    pool: Pool,
    asked: Questions,
    *,
    timer: Timer,
    stopped: Callable[[], bool] = lambda: False,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[int, int], None] = lambda done, total: None,
    partial: Partial | None = None,
) -> Evaluation:
    """Sample and verify a benchmark, its problems dealt over the ranks; every rank gets the result.

    `stopped` ends the sampling early; `check`, called by all ranks after it, may raise then.
    `advance(done, total)` is told of each finished problem of this rank. What `partial` holds is not
    sampled again; what is sampled is added to it.
    """
    share = list(enumerate(asked.problems))[distributed.rank() :: distributed.world_size()]
    source: Generator = engine
    if partial is not None:
        source = Replay(partial.load(), [index for index, _ in share], engine, partial.keep)
    groups = judge(name, bench, source, pool, share, timer=timer, stopped=stopped, advance=advance)
    check()
    rows = gathered(groups)
    return Evaluation(summary=scored(bench, rows) | {"left_out": float(asked.left_out)}, rows=rows)


def gathered(groups: list[Group]) -> list[dict[str, Any]]:
    """The rows of all ranks, in the order of the problems; all ranks call it."""
    parts = distributed.gather([row(group) for group in groups])
    return sorted((each for part in parts for each in part), key=lambda each: each["index"])


def scored(bench: Bench, rows: list[dict[str, Any]]) -> dict[str, float]:
    return summarise(rows, pass_at=bench.pass_at, majority=bench.majority)


def judge(
    name: str,
    bench: Bench,
    engine: Generator,
    pool: Pool,
    share: list[tuple[int, Problem]],
    *,
    timer: Timer,
    stopped: Callable[[], bool] = lambda: False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Group]:
    """This rank's (index, problem) pairs, sampled and verified by the bench's own verifier."""
    done = 0

    def finished(group: Group) -> None:
        nonlocal done
        done += 1
        advance(done, len(share))

    for _, problem in share:
        problem.verifiers = [verifier_key(name)]
    return collect(
        engine,
        pool,
        share,
        samples=1 if bench.temperature == 0 else bench.k,
        sampling=Sampling(
            temperature=bench.temperature,
            top_p=bench.top_p,
            max_tokens=bench.max_tokens,
            stop=list(bench.stop),
            logprobs=False,
        ),
        seed=bench.seed,
        weights={verifier_key(name): 1.0},
        unscored=Unscored.zero,
        timer=timer,
        stopped=stopped,
        finished=finished,
    )


def row(group: Group) -> dict[str, Any]:
    """What is kept of a problem: everything a metric or a reader needs."""
    [key] = group.problem.verifiers
    verdicts = [v[key] for v in group.verdicts]
    return {
        "index": group.index,
        "id": group.problem.id,
        "answer": group.problem.answer,
        "prompt": group.problem.prompt,
        "extra": group.problem.extra,
        "correct": group.correct,
        "extracted": [v.extracted for v in verdicts],
        "reasons": [v.reason.value for v in verdicts],
        **({"measures": [v.measures for v in verdicts]} if any(v.measures for v in verdicts) else {}),
        **fields(group.completions),
    }
