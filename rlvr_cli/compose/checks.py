"""What must fit together in a recipe and no single field can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlvr_cli.algorithms.check import check as check_algorithm
from rlvr_cli.compose.strict import Place
from rlvr_cli.errors import hint
from rlvr_cli.schema import Bench, EvalRecipe, Recipe, SFTRecipe, Source


def check(recipe: Recipe | SFTRecipe | EvalRecipe, place: Place) -> None:
    """Raise UserError for the first thing that does not fit."""
    try:
        _check_names(recipe)
        if isinstance(recipe, EvalRecipe):
            _check_benches(recipe.benches, "benches")
            return
        if not recipe.data:
            raise ValueError("data is empty; add e.g. `- data@data.train: addition` to the defaults list")
        if isinstance(recipe, Recipe):
            _check_verifiers(recipe.data, recipe.verifiers)
            _check_benches(recipe.eval.benches, "eval.benches")
            check_algorithm(
                recipe.algorithm, group_size=recipe.batch.group_size, max_tokens=recipe.rollout.max_tokens
            )
    except ValueError as error:
        raise place.complain(error) from error


def _check_names(recipe: Recipe | SFTRecipe | EvalRecipe) -> None:
    if not re.fullmatch(r"\w[\w.+-]*", recipe.name):
        raise ValueError(f"name is '{recipe.name}'; use letters, digits and . _ + - only")
    if recipe.out is not None and not recipe.out.strip("./~ "):
        raise ValueError(f"out is '{recipe.out}'; it must be a directory of its own, e.g. runs/{recipe.name}")


def _check_verifiers(data: Mapping[str, Source], verifiers: Mapping[str, object]) -> None:
    for key, source in data.items():
        if not source.verifiers:
            raise ValueError(
                f"data.{key}.verifiers is empty; name at least one of: {', '.join(verifiers) or 'none'}"
            )
        for name in source.verifiers:
            if name not in verifiers:
                raise ValueError(f"data.{key}.verifiers: '{name}' is not in verifiers{hint(name, verifiers)}")


def _check_benches(benches: Mapping[str, Bench], prefix: str) -> None:
    for key, bench in benches.items():
        for field, least in (("k", 1), ("max_tokens", 1), ("temperature", 0)):
            value = getattr(bench, field)
            if value < least:
                raise ValueError(f"{prefix}.{key}.{field} is {value}; it must be at least {least}")
        if not 0 < bench.top_p <= 1:
            raise ValueError(f"{prefix}.{key}.top_p is {bench.top_p}; it must be in (0, 1]")
        if bench.temperature == 0 and bench.k > 1:
            raise ValueError(
                f"{prefix}.{key}.k is {bench.k}, but at temperature 0 all samples are the same; "
                f"set k=1 or {prefix}.{key}.temperature"
            )
