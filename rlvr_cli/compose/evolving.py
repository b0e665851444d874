"""Rubrics that grow: where they may, and where they would move what is measured."""

from __future__ import annotations

from typing import Any

from rlvr_cli.schema import Recipe


def check_evolving(recipe: Any) -> None:
    """Raise ValueError for a rubric that grows where nothing trains on it."""
    training = isinstance(recipe, Recipe)
    benches = recipe.eval.benches if training else getattr(recipe, "benches", {})
    for key, bench in benches.items():
        if _grows(bench.verifier):
            raise ValueError(
                f"{'eval.' if training else ''}benches.{key}.verifier.evolve_every is set, and what is "
                "measured must stay the same; leave it out"
            )
    for key, verifier in getattr(recipe, "verifiers", {}).items():
        if not _grows(verifier):
            continue
        if not training:
            raise ValueError(
                f"verifiers.{key}.evolve_every is for reinforcement learning, and no policy learns here; "
                "leave it out"
            )
        if recipe.diagnosis.second_verifier == key:
            raise ValueError(
                f"verifiers.{key}.evolve_every is set, and diagnosis.second_verifier={key} is to look on "
                "unchanged; leave one out"
            )
        if recipe.batch.group_size < 2:
            raise ValueError(
                f"verifiers.{key}.evolve_every compares the responses of a group, and batch.group_size is "
                f"{recipe.batch.group_size}; it must be at least 2"
            )


def _grows(verifier: Any) -> bool:
    return getattr(verifier, "evolve_every", None) is not None
