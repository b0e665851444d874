"""Rubrics that grow while the policy learns: after every so many steps a judge is asked for criteria.

The criteria of a problem that a judge has added stand in the run's state, and with it in checkpoints; every
rank has the same. A judge that is silent or writes something else leaves a rubric as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Group, Problem
from rlvr_cli.schema import Recipe
from rlvr_cli.training.parts import Parts
from rlvr_cli.verifiers.chat_server import NoAnswer
from rlvr_cli.verifiers.rubric import Criterion, Rubric, added, added_key, criteria
from rlvr_cli.verifiers.rubric_growth import grown, marks_of, prompt_for, proposed

STATE = "rubrics"
"""Key of the run's state: column -> source/problem -> [[text, weight], ...]."""
LOOK_S = 0.05


@dataclass(kw_only=True)
class Growth:
    """What became of one problem's rubric."""

    index: int
    source: str
    problem: str
    now: list[Criterion]
    added: list[Criterion]
    retired: list[Criterion]
    fault: str | None = None
    """Why the judge was of no use; the rubric is as it was."""


def evolving(recipe: Recipe) -> Iterator[tuple[str, Rubric]]:
    """The verifiers whose rubrics grow."""
    for name, verifier in recipe.verifiers.items():
        if isinstance(verifier, Rubric) and verifier.evolve_every is not None:
            yield name, verifier


def evolve_rubrics(parts: Parts, mine: list[Group]) -> None:
    """After a step: let rubrics grow where it is time. `mine`: this rank's groups. All ranks must call it."""
    for name, verifier in evolving(parts.recipe):
        assert verifier.evolve_every is not None
        if parts.step % verifier.evolve_every:
            continue
        with parts.timer("rubrics"):
            own = _asked(verifier, name, _chosen(verifier, name, mine))
            growths = sorted((g for share in distributed.gather(own) for g in share), key=lambda g: g.index)
            _keep(parts, verifier.column, growths)
        _tell(parts, name, growths)


def restore_rubrics(parts: Parts, saved: dict[str, Any]) -> None:
    """The rubrics of a checkpoint's state `saved`; all others are their rows' own again."""
    kept = saved.get(STATE, {})
    columns = {verifier.column for _, verifier in evolving(parts.recipe)}
    if not columns:
        parts.state.pop(STATE, None)
        return
    parts.state[STATE] = {column: dict(kept.get(column, {})) for column in sorted(columns)}
    for column, by_problem in parts.state[STATE].items():
        for source, problems in parts.sampler.items.items():
            for problem in problems:
                _give(problem, column, by_problem.get(f"{source}/{problem.id}", []))


def _chosen(verifier: Rubric, name: str, mine: list[Group]) -> list[tuple[Group, int, int]]:
    """(group, its best response, its worst) of this rank: of the first `evolve_problems` problems of the step
    whose responses differ. All ranks must call it."""
    found: dict[int, tuple[Group, int, int]] = {}
    for group in mine:
        scores = {
            sample: verdicts[name].score
            for sample, verdicts in enumerate(group.verdicts)
            if name in verdicts and verdicts[name].scored
        }
        if scores and max(scores.values()) > min(scores.values()):
            best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
            found[group.index] = (group, best, worst)
    named = {index: (g.problem.source, g.problem.id) for index, (g, _, _) in found.items()}
    everybody = sorted(pair for share in distributed.gather(named) for pair in share.items())
    first: dict[tuple[str, str], int] = {}
    for index, problem in everybody:
        first.setdefault(problem, index)
    wanted = set(list(first.values())[: verifier.evolve_problems])
    return [found[index] for index in sorted(found) if index in wanted]


def _asked(verifier: Rubric, name: str, chosen: list[tuple[Group, int, int]]) -> list[Growth]:
    """Of each chosen group what its rubric becomes; requests run side by side."""
    with ThreadPoolExecutor(verifier.concurrency) as pool:
        futures = [pool.submit(_growth, verifier, name, *each) for each in chosen]
        while not all(future.done() for future in futures):
            heart.beat()
            time.sleep(LOOK_S)
        return [future.result() for future in futures]


def _growth(verifier: Rubric, name: str, group: Group, best: int, worst: int) -> Growth:
    extra = group.problem.extra
    own, before = criteria(extra, verifier.column), added(extra, verifier.column)
    found = Growth(
        index=group.index,
        source=group.problem.source,
        problem=group.problem.id,
        now=before,
        added=[],
        retired=[],
    )
    better, worse = (group.completions[sample].text for sample in (best, worst))
    try:
        said = verifier.reply(prompt_for(verifier, extra, better, worse), verifier.deadline())
    except NoAnswer as error:
        found.fault = f"no answer: {verifier.without_key(str(error))[:200]}"
        return found
    new = proposed(said, [*own, *before], verifier.evolve_most)
    if new is None:
        found.fault = f"no criteria and no 'none': {said[-200:]!r}"
        return found
    marks = [marks_of(verdicts[name].more) for verdicts in group.verdicts if name in verdicts]
    found.now = grown(len(own), before, new, marks, verifier.evolve_most)
    found.added = [each for each in found.now if each not in before]
    found.retired = [each for each in before if each not in found.now]
    return found


def _keep(parts: Parts, column: str, growths: list[Growth]) -> None:
    """Into the state, and into the problems for the verdicts to come."""
    by_problem = parts.state.setdefault(STATE, {}).setdefault(column, {})
    for each in growths:
        rows = [[one.text, one.weight] for one in each.now]
        by_problem[f"{each.source}/{each.problem}"] = rows
        for problem in parts.sampler.items[each.source]:
            if problem.id == each.problem:
                _give(problem, column, rows)


def _give(problem: Problem, column: str, rows: list[list[Any]]) -> None:
    """Another dict, as threads may be sending the old one to workers."""
    key = added_key(column)
    if rows or key in problem.extra:
        problem.extra = problem.extra | {key: rows}


def _tell(parts: Parts, name: str, growths: list[Growth]) -> None:
    """One event: every change, and how often the judge was of no use."""
    changes = [
        {
            "source": each.source,
            "problem": each.problem,
            "added": [[one.text, one.weight] for one in each.added],
            "retired": [one.text for one in each.retired],
            "now": [[one.text, one.weight] for one in each.now],
        }
        for each in growths
        if each.added or each.retired
    ]
    faults = [each.fault for each in growths if each.fault is not None]
    new, old = (sum(len(change[key]) for change in changes) for key in ("added", "retired"))
    said = f"step {parts.step}: verifiers.{name} has {new} new criteria, {old} are retired, "
    said += f"in {len(changes)} of {len(growths)} rubrics looked at"
    if faults:
        said += f"; {len(faults)} answers were of no use, the first: {faults[0]}"
    parts.tracker.event("rubric", said, changes=changes, faults=faults)
