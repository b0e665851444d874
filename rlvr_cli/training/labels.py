"""Sources whose gold answers are majority labels: read, fitted to the problems, told."""

from __future__ import annotations

from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.labels import identity, labelled
from rlvr_cli.data.profiles import read_profile
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.difficulty import doubts
from rlvr_cli.verifiers.several_golds import fault_of


def relabelled(
    recipe: Recipe, by_source: dict[str, list[Problem]], tracker: Tracker | NullTracker
) -> tuple[dict[str, list[Problem]], dict[str, str]]:
    """The problems that train, and the identity of the labels of each source that has some."""
    kept, identities = dict(by_source), dict[str, str]()
    for name, source in recipe.data.items():
        if (settings := source.labels) is None:
            continue
        profile = read_profile(Path(settings.file))
        for doubt in doubts(profile, recipe):
            tracker.event("warning", f"data.{name}.labels: {settings.file} {doubt}")
        try:
            labels = profile.labels(name)
        except KeyError:
            raise UserError(
                f"data.{name}.labels: {settings.file} has rows without a label, of an earlier version; "
                "remove it and run `rlvr profile` again"
            ) from None

        def fault(problem: Problem, label: str) -> str | None:
            return fault_of(recipe.verifiers, problem.verifiers[:1], label, problem.extra)

        kept[name], said = labelled(name, settings, by_source[name], labels, fault)
        tracker.event("data", said)
        identities[name] = identity(kept[name])
    return kept, identities
