"""Look at the world a recipe speaks of, in seconds and without writing: what a run would refuse is refused
at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.compose import AnyRecipe
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.experiences import read_library
from rlvr_cli.data.pair_layouts import PREFERENCES, demand_preference
from rlvr_cli.data.trace_layouts import TRACES
from rlvr_cli.dry_run import tokenizer as files
from rlvr_cli.dry_run.environments import announced, environment_at
from rlvr_cli.dry_run.sources import SourceLook, look_at
from rlvr_cli.dry_run.unread import unread
from rlvr_cli.schema import (
    EvalRecipe,
    OTVRecipe,
    PreferenceRecipe,
    Recipe,
    RewardModelRecipe,
    SFTRecipe,
    Source,
)
from rlvr_cli.schema.lengths import longest


@dataclass(kw_only=True)
class Look:
    """What was seen: lines to show under the part of the recipe they are about, and warnings."""

    lines: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def look(recipe: AnyRecipe) -> Look:
    """Look at the model's files and every source of a recipe whose `model.path` is resolved. UserError for
    what a run would refuse as soon as it has loaded its libraries."""
    found = Look(
        warnings=[f"{key} is set, and nothing reads it: {why}" for key, why in unread(recipe).items()]
    )
    if isinstance(recipe, EvalRecipe) and recipe.rescore:
        return found
    tokenizer = files.load(recipe.model)
    found.lines["model"] = [_of_model(recipe, tokenizer)]
    _check_positions(recipe)
    for key, source, seed, verifiers, names in _sources(recipe):
        tools, said = announced(*environment_at(recipe, key), tokenizer)
        compares = isinstance(recipe, PreferenceRecipe | RewardModelRecipe)
        layout = PREFERENCES if compares else TRACES if isinstance(recipe, OTVRecipe) else None
        seen = look_at(key, source, seed, tokenizer, verifiers, names, tools, layout)
        if isinstance(recipe, PreferenceRecipe) and seen.first is not None:
            demand_preference(recipe.algorithm.preference, seen.first, key, source.path)
        found.lines[key] = [*seen.lines, *said]
        found.warnings += [f"{key}: {line}" for line in seen.warnings]
        found.warnings += list(_few(recipe, key, source, seen))
    return found


def _of_model(recipe: AnyRecipe, tokenizer: files.FileTokenizer | None) -> str:
    model = recipe.model
    if tokenizer is None:
        return f"{model.path}: a hub id, not in the cache of this machine; not looked at"
    template = "a chat template" if tokenizer.chat_template else "no chat template"
    positions = files.config_of(model).get("max_position_embeddings")
    return f"{model.path}: tokenizer with {template}" + (f", {positions:,} positions" if positions else "")


def _sources(recipe: Any) -> Iterator[tuple[str, Source, int, dict[str, Any] | None, list[str] | None]]:
    """(key, source, seed, verifiers, those that score all its rows), the data before the benches."""
    verifiers = None if isinstance(recipe, SFTRecipe) else getattr(recipe, "verifiers", {})
    for name, source in getattr(recipe, "data", {}).items():
        yield f"data.{name}", source, recipe.seed, verifiers, None
    if isinstance(recipe, SFTRecipe):
        if recipe.eval.source is not None and not recipe.eval.source.held_out:
            yield "eval.source", recipe.eval.source, recipe.seed, None, None
        return
    benches, prefix = (recipe.eval.benches, "eval.") if isinstance(recipe, Recipe) else (recipe.benches, "")
    for name, bench in benches.items():
        if bench.source.held_out and isinstance(recipe, Recipe):
            continue  # its rows are those of a source that has been looked at
        if bench.experiences is not None:
            read_library(bench.experiences)  # it is there, and whole
        own = {name: bench.verifier}
        yield f"{prefix}benches.{name}.source", bench.source, bench.seed, own, [name]


def _check_positions(recipe: AnyRecipe) -> None:
    """As training/assemble.py does once the model's config is loaded."""
    positions = files.config_of(recipe.model).get("max_position_embeddings")
    if not isinstance(recipe, Recipe) or not isinstance(positions, int):
        return
    if (wanted := longest(recipe)) > positions:
        raise UserError(
            f"the longest prompt (max_prompt_tokens) and response (max_tokens) of rollout and eval.benches "
            "add up to "
            f"{wanted} tokens, more than the {positions} positions of '{recipe.model.path}'; lower one, or "
            "set "
            "model.overrides.max_position_embeddings"
        )


def _few(recipe: AnyRecipe, key: str, source: Source, seen: SourceLook) -> Iterator[str]:
    """A step that takes a problem more than once."""
    if (
        not isinstance(recipe, Recipe)
        or seen.rows is None
        or len(recipe.data) > 1
        or not key.startswith("data.")
    ):
        return
    wanted, rows = recipe.batch.prompts_per_step, min(seen.rows, source.limit or seen.rows)
    if wanted > rows:
        yield (
            f"batch.prompts_per_step is {wanted}, and {key} has {rows} rows: each comes about "
            f"{wanted / rows:.1f} times "
            "in a step"
        )
