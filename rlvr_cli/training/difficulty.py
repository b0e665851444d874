"""Problems by difficulty: what a profile chooses, what it may not fit, and what the run's groups add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlvr_cli.core.model_paths import BUILT_IN
from rlvr_cli.core.types import Group, Problem
from rlvr_cli.data.difficulty import Pace, choose
from rlvr_cli.data.profiles import Profile, read_profile
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.evaluation.stored_samples import fingerprint, weights_of
from rlvr_cli.schema import DifficultyBy, Recipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker


def paced(
    recipe: Recipe, by_source: dict[str, list[Problem]], tracker: Tracker | NullTracker
) -> tuple[dict[str, list[Problem]], dict[str, Pace]]:
    """The problems that may come, and the pace of those sources that have a difficulty."""
    kept, paces = dict(by_source), dict[str, Pace]()
    for name, source in recipe.data.items():
        settings = source.difficulty
        if settings is None:
            continue
        profile = read_profile(Path(settings.file)) if settings.file is not None else None
        for doubt in doubts(profile, recipe) if profile is not None else ():
            tracker.event("warning", f"data.{name}.difficulty: {settings.file} {doubt}")
        by_score = settings.by is DifficultyBy.score
        known = profile.counts(name, by_score) if profile is not None else None
        kept[name], said = choose(name, settings, by_source[name], known)
        tracker.event("data", said)
        paces[name] = Pace(
            name, settings, kept[name], known or {}, seed=recipe.seed, group_size=recipe.batch.group_size
        )
    return kept, paces


def doubts(profile: Profile, recipe: Recipe) -> Iterator[str]:
    """Why the pass rates of a profile may not be those of this run's start model."""
    head, path = profile.head, recipe.model.path
    if head.get("model") != path:
        yield f"is of the model {head.get('model')}, and this run starts from {path}"
    elif path not in BUILT_IN and head.get("weights") != fingerprint(weights_of(path)):
        yield f"is of other weights than {path} has"
    rollout = recipe.rollout
    now = {"temperature": rollout.temperature, "top_p": rollout.top_p, "max_tokens": rollout.max_tokens}
    then = head.get("sampling", {})
    differing = [
        f"{key} {then[key]:g} (here {value:g})" for key, value in now.items() if then.get(key, value) != value
    ]
    if differing:
        yield f"was sampled with {', '.join(differing)}"


def observe(sampler: Sampler[Any], groups: list[Group]) -> None:
    """Count the groups of a step, trained on or not; the same on every rank."""
    for group in groups:
        pace = sampler.paces.get(group.problem.source)
        if pace is not None:
            pace.observe(group.problem.id, group.correct)


def pace_metrics(sampler: Sampler[Any]) -> dict[str, float]:
    """What is known of each source with a difficulty; nothing without one."""
    found = {name: value for pace in sampler.paces.values() for name, value in pace.metrics().items()}
    return found | {f"data/{name}/epochs": sampler.epochs[name] for name in sampler.paces}
