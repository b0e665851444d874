"""The groups of a step that were begun ahead of it: admission, the wait for enough of them, the choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.rollout import Request
from rlvr_cli.sampling.collect import request_seed, verified
from rlvr_cli.schema import TooOld
from rlvr_cli.training.admission import cannot_wait, capacity
from rlvr_cli.training.ahead import Ahead
from rlvr_cli.training.beside import Beside
from rlvr_cli.training.dynamic_sampling import (
    Rollouts,
    judge,
    measured_states,
    take_rewards,
    verification,
)
from rlvr_cli.training.flights import Flight
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.shares import hand_over, without_tokens
from rlvr_cli.training.unjudged import cause_of

T = TypeVar("T")
Row = tuple[int, int, bool]
"""Of a prompt in flight: version of its oldest token, index, whether it is finished."""


class TooOldToTrain(RuntimeError):
    """A group older than `rollout.max_staleness` was about to train: the admission is wrong."""


def sample_ahead(parts: Parts, ahead: Ahead, step: int) -> Rollouts:
    """In the place of `sample_groups`: groups for a step out of those in flight, and new prompts begun.

    Rounds until `batch.prompts_per_step` groups pass the filter, or the cap. A round ends where enough groups
    are finished; what is unfinished, or has passed and found no place, stays in flight for later steps. All
    ranks must call it and see the same groups. Where a stop is asked for, everything stays in flight.
    """
    recipe = parts.recipe
    ahead.drop_too_old(step)
    verify_again(parts, ahead, step)
    parts.pool.around.step = step
    out = Rollouts(kept=[], sampled=[], mine=[], refills=0)
    for out.refills in range(recipe.rollout.max_rounds):
        decided = {group.index for group in out.sampled}
        rows = begin(parts, ahead, step, decided, kept=len(out.kept))
        share, must = wanted_here(parts, rows, step, recipe.batch.prompts_per_step - len(out.kept))
        arrive(parts, ahead, decided, share, must)
        parts.stop.check()
        mine = [f for f in ahead.flights if f.group is not None and f.index not in decided]
        if out.refills == 0:
            out.unjudged = cause_of([f.group for f in mine if f.group is not None])
        advantage = parts.recipe.algorithm.advantage
        found = [(f.oldest(step), without_tokens(f.group, advantage)) for f in mine if f.group is not None]
        choose(parts, out, [pair for share in distributed.gather(found) for pair in share], step)
        if out.unjudged is not None or len(out.kept) >= recipe.batch.prompts_per_step:
            break
    return settled(parts, ahead, out, step)


def begin(parts: Parts, ahead: Ahead, step: int, decided: set[int], kept: int) -> list[list[Row]]:
    """Take the prompts that may be begun now, and deal them to the engines with the fewest unfinished ones.

    Returns what each engine then has in flight; `decided` and `kept` are this step's groups so far.
    """
    recipe, prompts = parts.recipe, parts.recipe.batch.prompts_per_step
    here = [(f.oldest(step), f.index, f.finished) for f in ahead.flights if f.index not in decided]
    leading = distributed.gather((parts.engine.leader, here))
    rows: list[list[Row]] = [share for leader, share in leading if leader]
    unfinished = [sum(not finished for _, _, finished in share) for share in rows]
    ready = sum(map(len, rows)) - sum(unfinished)
    room = capacity(
        running=sum(unfinished),
        accepted=step * prompts + kept + ready,
        version=step,
        staleness=recipe.rollout.max_staleness,
        prompts=prompts,
        most=recipe.rollout.max_concurrent,
    )
    dealt = deal(parts.sampler.take(max(0, room)), unfinished)
    mine = dealt[parts.engine.share[0]] if parts.engine.leader else []
    if mine and not ahead.keeps:
        ahead.pause()
    ahead.flights.add(Flight(index=index, problem=problem) for index, problem in mine)
    if ahead.beside is not None:
        start(parts, ahead, ahead.beside, step, [index for index, _ in mine])
    return [
        share + [(step, index, False) for index, _ in new] for share, new in zip(rows, dealt, strict=True)
    ]


def start(parts: Parts, ahead: Ahead, beside: Beside, step: int, new: list[int]) -> None:
    """Have the thread sample what it has not got: the `new` prompts, or after a pause all."""
    wanted = [f for f in ahead.flights if f.group is None and (f.index in new or not beside.running)]
    if not wanted:
        return
    for flight in wanted:
        flight.since = step if ahead.keeps else None
    beside.start(requests_of(parts, wanted), parts.sampling)


def deal(prompts: list[T], running: list[int]) -> list[list[T]]:
    """Each prompt to the engine with the fewest, of which `running` says how many it has."""
    counts = list(running)
    dealt: list[list[T]] = [[] for _ in running]
    for prompt in prompts:
        engine = counts.index(min(counts))
        counts[engine] += 1
        dealt[engine].append(prompt)
    return dealt


def wanted_here(parts: Parts, rows: list[list[Row]], step: int, missing: int) -> tuple[int, set[int]]:
    """How many finished groups this rank's engine waits for, and which are among them for certain.

    Nobody can see while he samples what the others have, so each waits for its share of what is missing;
    and for those of its groups that a later step would find too old, unless they are to be dropped.
    """
    recipe = parts.recipe
    flying = sorted(row for share in rows for row in share)
    due = cannot_wait(
        (oldest for oldest, _, _ in flying),
        version=step,
        staleness=recipe.rollout.max_staleness,
        prompts=recipe.batch.prompts_per_step,
    )
    if recipe.rollout.too_old is TooOld.drop:
        due = 0
    here = {index for _, index, _ in rows[parts.engine.share[0]]}
    factor = recipe.rollout.oversample if recipe.algorithm.filter.drops else 1.0
    wanted = min(len(flying), math.ceil(missing * factor))
    return math.ceil(wanted * len(here) / max(1, len(flying))), {index for _, index, _ in flying[:due]} & here


def arrive(parts: Parts, ahead: Ahead, decided: set[int], share: int, must: set[int]) -> None:
    """Wait until there is the engine's `share` of finished groups and all it `must` have, and verify them.

    A rank that only helps another with its engine has nothing in flight, and goes through what comes.
    """
    flights = ahead.flights
    done = {f.index for f in flights if f.group is not None and f.index not in decided}

    def enough() -> bool:
        return parts.stop.asked or (len(done) >= share and must <= done)

    def finished() -> Iterator[tuple[int, list[Completion]]]:
        for index, completions in generated(parts, ahead, enough):
            if parts.engine.leader:
                flights[index].came(completions)
            if not any(completion.partial for completion in completions):
                done.add(index)
                yield index, completions

    verify(parts, ahead, finished())


def generated(
    parts: Parts, ahead: Ahead, enough: Callable[[], bool]
) -> Iterator[tuple[int, list[Completion]]]:
    """(index, completions) of the engine's prompts, finished or as far as they are, until it is enough."""
    if ahead.beside is not None:
        yield from ahead.beside.arrived(enough)
        return

    def counted() -> bool:
        ahead.engine_steps += parts.engine.leader
        return enough()

    if not parts.engine.agreed(enough()):
        waiting = [flight for flight in ahead.flights if flight.group is None]
        yield from parts.engine.generate(requests_of(parts, waiting), parts.sampling, counted)


def requests_of(parts: Parts, flights: list[Flight]) -> list[Request]:
    """What the engine is asked for these prompts."""
    recipe = parts.recipe
    return [
        Request(
            key=flight.index,
            tokens=flight.problem.tokens,
            samples=recipe.batch.group_size,
            seed=request_seed(recipe.seed, flight.index) if recipe.rollout.seeded else None,
            messages=flight.problem.messages,
            begun=flight.begun,
        )
        for flight in flights
    ]


def verify(parts: Parts, ahead: Ahead, finished: Iterator[tuple[int, list[Completion]]]) -> None:
    """Verdicts for groups as they come; they are kept with their flights."""
    prompts: dict[int, tuple[int, Problem]] = {f.index: (f.index, f.problem) for f in ahead.flights}
    with verification(parts, parts.recipe) as settings:
        groups = verified(finished, parts.pool, prompts, engine=parts.engine, **settings)
    for group in groups:
        flight = ahead.flights[group.index]
        flight.group, flight.judged = group, parts.pool.around.step


def verify_again(parts: Parts, ahead: Ahead, step: int) -> None:
    """After a resume: what was finished in steps before this one has the verdicts it had in them."""
    earlier = [f for f in ahead.flights if f.group is None and f.judged is not None and f.judged < step]
    for then in sorted({flight.judged for flight in earlier if flight.judged is not None}):
        parts.pool.around.step = then
        verify(parts, ahead, iter([(f.index, f.begun) for f in earlier if f.judged == then]))


def choose(parts: Parts, out: Rollouts, found: list[tuple[int, Group]], step: int) -> None:
    """Which groups of `found` (oldest, group) train, the oldest first, and which the filter rejects."""
    found = sorted(found, key=lambda pair: pair[1].index)
    groups = [group for _, group in found]
    keep = judge(groups, parts.recipe.algorithm, step)
    if out.unjudged is not None:
        out.sampled = groups
        return
    passed = sorted((oldest, g.index) for (oldest, g), good in zip(found, keep, strict=True) if good)
    passed = passed[: parts.recipe.batch.prompts_per_step - len(out.kept)]
    for oldest, index in passed:
        if step - oldest > parts.recipe.rollout.max_staleness:
            raise TooOldToTrain(f"prompt {index} has tokens of step {oldest} and would train in step {step}")
    chosen = {index for _, index in passed}
    out.kept += [group for group in groups if group.index in chosen]
    out.sampled += [g for g, good in zip(groups, keep, strict=True) if not good or g.index in chosen]


def settled(parts: Parts, ahead: Ahead, out: Rollouts, step: int) -> Rollouts:
    """The step's groups in the order of the prompts; those that are decided on are in flight no longer."""
    for groups in (out.kept, out.sampled):
        groups.sort(key=lambda group: group.index)
    decided = {group.index for group in out.sampled}
    out.mine = [f.group for f in ahead.flights if f.group is not None and f.index in decided]
    take_rewards(out)
    if out.unjudged is not None:
        return out
    if measured_states(parts, out, step):
        parts.stop.check()
    ahead.flights.remove(decided)
    out.owners = hand_over(parts, out.kept, out.mine)
    ahead.taken()
    return out
