"""Difficulty and trajectories of a source: keys that would do nothing, and places where they mean nothing."""

from __future__ import annotations

from rlvr_cli.schema import (
    Difficulty,
    DifficultyBy,
    DifficultyWeight,
    DistillationRecipe,
    EvalRecipe,
    Recipe,
    SFTRecipe,
    Source,
    Unprofiled,
)


def check_difficulty(recipe: Recipe | SFTRecipe | EvalRecipe) -> None:
    """ValueError, key first, for the first source whose difficulty or trajectories cannot be meant."""
    _check_trajectories(recipe)
    if isinstance(recipe, Recipe):
        for name, source in recipe.data.items():
            if source.difficulty is not None:
                _check_values(f"data.{name}.difficulty", source.difficulty)
                _check_use(f"data.{name}.difficulty", source.difficulty)
    for key, source in sources_taken_whole(recipe).items():
        if source.difficulty is not None:
            raise ValueError(
                f"{key}.difficulty chooses problems to train on by reinforcement learning; leave it out here"
            )


def _check_trajectories(recipe: Recipe | SFTRecipe | EvalRecipe) -> None:
    data = {f"data.{name}": source for name, source in getattr(recipe, "data", {}).items()}
    tuned = data if type(recipe) in (SFTRecipe, DistillationRecipe) else {}
    for key, source in (data | sources_taken_whole(recipe)).items():
        if (wanted := source.trajectories) is None:
            continue
        if key not in tuned:
            raise ValueError(
                f"{key}.trajectories chooses traces to fine-tune on (rlvr sft); leave it out here"
            )
        if wanted < 1:
            raise ValueError(f"{key}.trajectories is {wanted}; it must be at least 1, or null: every row")
        if source.deduplicate:
            raise ValueError(
                f"{key}.deduplicate leaves one row of each prompt, and {key}.trajectories needs several: set "
                "one of them"
            )


def sources_taken_whole(recipe: Recipe | SFTRecipe | EvalRecipe) -> dict[str, Source]:
    """Sources of fine-tuning and evaluation, which are taken whole."""
    if isinstance(recipe, SFTRecipe):
        found = {f"data.{name}": source for name, source in recipe.data.items()}
        return found | ({"eval.source": recipe.eval.source} if recipe.eval.source is not None else {})
    benches = recipe.benches if isinstance(recipe, EvalRecipe) else recipe.eval.benches
    prefix = "benches" if isinstance(recipe, EvalRecipe) else "eval.benches"
    return {f"{prefix}.{name}.source": bench.source for name, bench in benches.items()}


def _check_values(key: str, given: Difficulty) -> None:
    band = given.band
    if band and not (len(band) == 2 and 0 <= band[0] < band[1] <= 1):
        raise ValueError(f"{key}.band is {band}; it must be two pass rates from 0 to 1, e.g. [0.1, 0.9]")
    if given.power <= 0:
        raise ValueError(f"{key}.power is {given.power:g}; it must be above 0")
    if not 0.01 <= given.floor <= 1:
        raise ValueError(f"{key}.floor is {given.floor:g}; it must be from 0.01 to 1, so that none vanishes")
    if not 0 <= given.memory <= 1:
        raise ValueError(f"{key}.memory is {given.memory:g}; it must be from 0 to 1")
    if given.prior <= 0:
        raise ValueError(f"{key}.prior is {given.prior:g}; it must be above 0")
    if given.file is not None and not given.file.strip():
        raise ValueError(f"{key}.file is empty; name a profile, or leave it out")


def _check_use(key: str, given: Difficulty) -> None:
    """Nothing that is set may be without an effect."""
    weighted, usual = given.weight is not DifficultyWeight.uniform, Difficulty()
    if given.file is None and not given.adapt:
        raise ValueError(
            f"{key} has no pass rates: set {key}.file to what `rlvr profile` wrote, or {key}.adapt=true"
        )
    if not weighted and not given.band:
        raise ValueError(f"{key} chooses nothing: set {key}.band=[0.1,0.9] or {key}.weight=variance")
    if given.power != usual.power and not weighted:
        raise ValueError(f"{key}.power has no use with weight=uniform; set {key}.weight, or leave it out")
    if given.floor != usual.floor and not weighted and not given.adapt:
        raise ValueError(f"{key}.floor has no use with a band alone, which leaves problems out; remove it")
    if given.unprofiled is not Unprofiled.keep and given.file is None:
        raise ValueError(f"{key}.unprofiled has no use without {key}.file; set that, or leave it out")
    if given.by is DifficultyBy.score and (given.file is None or given.adapt):
        raise ValueError(f"{key}.by=score is of the scores of {key}.file alone; name one, and no adapt")
    for name in ("prior", "memory"):
        if getattr(given, name) != getattr(usual, name) and not given.adapt:
            raise ValueError(f"{key}.{name} has no use without {key}.adapt=true; set that, or leave it out")
