"""Which problems each step is about."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from rlvr_cli.core.types import Problem
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import held_out
from rlvr_cli.experience.rollouts import Drawn
from rlvr_cli.sampling.routes import check_routes
from rlvr_cli.schema import ExperienceRecipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.several_golds import fault_of, wants_rows


def course(recipe: ExperienceRecipe, tokenizer: Any, tracker: Tracker | NullTracker) -> Iterator[Drawn]:
    """The problems of one step after the other, without end: a function of data and seed.

    With `batch.problems` so many are drawn once, and the steps go through these, in a new order each time.
    """
    found: dict[str, list[Problem]] = {}
    apart = held_out(recipe.data.values(), recipe.seed, PROBLEMS)
    for name, source in recipe.data.items():
        found[name], report = problems(
            name,
            source,
            tokenizer,
            recipe.rollout.max_prompt_tokens,
            recipe.seed,
            ask=partial(fault_of, recipe.verifiers),
            apart=apart,
            raw=any(map(wants_rows, recipe.verifiers.values())),
        )
        check_routes(found[name], recipe.verifiers)
        tracker.event("data", str(report))
    sampler = Sampler(found, {name: source.weight for name, source in recipe.data.items()}, recipe.seed)
    if recipe.batch.problems is not None:
        most = min(recipe.batch.problems, sum(map(len, found.values())))
        chosen = {(p.source, p.id): p for _, p in sampler.take(most)}
        sampler = Sampler({"chosen": list(chosen.values())}, {"chosen": 1.0}, recipe.seed)
    while True:
        yield sampler.take(recipe.batch.prompts_per_step)
