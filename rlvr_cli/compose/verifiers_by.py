"""Whether `data.<name>.verifiers_by` can route: it is whole, alone, and names verifiers that are there."""

from __future__ import annotations

from collections.abc import Mapping

from rlvr_cli.core.errors import hint
from rlvr_cli.schema import Bench, ExperienceRecipe, Recipe, SFTRecipe, Source


def check_verifiers_by(recipe: Recipe | SFTRecipe | ExperienceRecipe) -> None:
    """ValueError that names the key."""
    for key, source in recipe.data.items():
        by = source.verifiers_by
        if by.column is None and not by.map:
            continue
        if isinstance(recipe, SFTRecipe):
            raise ValueError(
                f"data.{key}.verifiers_by has no use: {recipe.algorithm.name} verifies nothing; leave it out"
            )
        if by.column is None or not by.map:
            missing = "column" if by.column is None else "map"
            raise ValueError(f"data.{key}.verifiers_by.{missing} is not set; it needs column and map")
        other = (
            "verifiers" if source.verifiers else "columns.verifiers" if "verifiers" in source.columns else ""
        )
        if other:
            raise ValueError(
                f"data.{key}.verifiers_by and data.{key}.{other} both say who verifies; leave one out"
            )
        _check_map(f"data.{key}.verifiers_by.map", source, recipe.verifiers)


def _check_map(where: str, source: Source, verifiers: Mapping[str, object]) -> None:
    for value, names in source.verifiers_by.map.items():
        for name in names:
            if name not in verifiers:
                raise ValueError(f"{where}: '{name}' of '{value}' is not in verifiers{hint(name, verifiers)}")
        if all(getattr(verifiers[name], "gate", False) for name in names):
            raise ValueError(f"{where}: '{value}' has no verifier that scores; name one")


def check_benches_route_nothing(benches: Mapping[str, Bench], prefix: str) -> None:
    """A bench has one verifier. ValueError that names the key."""
    for key, bench in benches.items():
        if bench.source.verifiers_by.column is not None or bench.source.verifiers_by.map:
            raise ValueError(
                f"{prefix}.{key}.source.verifiers_by has no use: a bench has one verifier, "
                f"{prefix}.{key}.verifier"
            )
