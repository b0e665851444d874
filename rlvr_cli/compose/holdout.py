"""`data.<name>.holdout` becomes a bench of that name, of sft `eval.source`; what is held out is not trained
on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Bench, Recipe, Rollout, SFTRecipe, Source

Tree = dict[str, Any]

OF_TRAINING = (
    *("weight", "verifiers", "verifiers_by", "metrics_by", "environment", "difficulty", "labels", "held_out"),
    "trajectories",
)
"""Keys of a source that say nothing of the bench its held-out prompts become."""
SAMPLED_ALIKE = ("temperature", "top_p", "max_tokens", "stop")
"""Keys of a bench that are those of `rollout` where it says nothing."""
MADE = ("synthetic:", "reasoning_gym:", "verifiers:")


def add_held_out(tree: Tree, file: str, sft: bool) -> None:
    """Put the held-out prompts of each source where they are measured, in place. UserError where something
    else is there already."""
    sources = {name: s for name, s in _sections(tree, "data").items() if isinstance(s, dict)}
    holding = {name: s for name, s in sources.items() if s.get("holdout") is not None}
    if sft:
        _add_eval_source(tree, holding, file)
        return
    for name, source in holding.items():
        _add_bench(tree, name, source, file)


def routes(source: Tree) -> bool:
    """Whether the rows of a source say which verifiers score them."""
    by = source.get("verifiers_by")
    return "verifiers" in (source.get("columns") or {}) or (
        isinstance(by, dict) and by.get("column") is not None
    )


def _sections(tree: Tree, key: str) -> Tree:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def _held_out(source: Tree) -> Tree:
    kept = {key: copy.deepcopy(value) for key, value in source.items() if key not in OF_TRAINING}
    return kept | {"held_out": True}


def _add_bench(tree: Tree, name: str, source: Tree, file: str) -> None:
    """`eval.benches.<name>` with what the recipe says of it, the held-out prompts and the source's first
    verifier."""
    section = tree["eval"] = tree.get("eval") or {}
    if not isinstance(section, dict) or not isinstance(section.get("benches") or {}, dict):
        return  # the strict schema says what is wrong with it
    benches = section["benches"] = section.get("benches") or {}
    bench = benches[name] = benches.get(name) or {}
    if not isinstance(bench, dict):
        return
    own = bench.get("source")
    if own is not None and not (isinstance(own, dict) and own.get("held_out")):
        raise UserError(
            f"{file}: data.{name}.holdout makes the bench eval.benches.{name}, which has problems of its own "
            "already; "
            "give one of the two another name"
        )
    bench["source"] = _held_out(source)
    first = next(iter(source.get("verifiers") or []), None)
    verifiers = _sections(tree, "verifiers")
    if "verifier" not in bench and first in verifiers:
        bench["verifier"] = copy.deepcopy(verifiers[first])
    elif "verifier" not in bench:
        raise UserError(
            f"{file}: data.{name}.holdout makes a bench, which has one verifier, and data.{name}.verifiers "
            f"{f'names {first}, which is not in verifiers' if first else 'names none'}; name one there, or "
            "set "
            f"eval.benches.{name}.verifier"
        )
    own_environment = _sections(tree, "environments").get(str(source.get("environment")))
    if own_environment is not None:
        bench.setdefault("environment", copy.deepcopy(own_environment))
    rollout = _sections(tree, "rollout")
    for key in SAMPLED_ALIKE:
        bench.setdefault(key, copy.deepcopy(rollout.get(key, getattr(Rollout(), key))))


def _add_eval_source(tree: Tree, holding: Mapping[str, Tree], file: str) -> None:
    """`eval.source`, of which sft has one."""
    if not holding:
        return
    name, source = next(iter(holding.items()))
    section = tree["eval"] = tree.get("eval") or {}
    if not isinstance(section, dict):
        return
    own = section.get("source")
    if len(holding) > 1 or (own is not None and not (isinstance(own, dict) and own.get("held_out"))):
        other = f"data.{list(holding)[1]}.holdout" if len(holding) > 1 else "eval.source"
        raise UserError(
            f"{file}: data.{name}.holdout becomes eval.source, and there is {other} too; sft measures one: "
            "leave one out"
        )
    section["source"] = _held_out(source)


def check_holdout(recipe: object, data: Mapping[str, Source], held: Mapping[str, Source]) -> None:
    """ValueError for a split that would not hold. `held`: key -> source that `held_out` may stand in."""
    for name, source in data.items():
        if source.held_out:
            raise ValueError(
                f"data.{name}.held_out is for benches: what is held out never trains; leave it out"
            )
        if source.holdout is None:
            continue
        if source.layout is not None:
            raise ValueError(
                f"data.{name}.holdout needs rows that are the same for every seed, and those of layout="
                f"{source.layout} are put together anew; hold another file out"
            )
        if source.holdout >= 1 and source.path.startswith(MADE):
            raise ValueError(
                f"data.{name}.holdout is {source.holdout:g}, but {source.path} makes other problems for "
                "every seed; "
                "give a share below 1, or a bench of split: eval"
            )
    for key, source in held.items():
        if not source.held_out:
            continue
        if source.holdout is None:
            raise ValueError(f"{key}.source.held_out needs {key}.source.holdout: how many are held out")
        if not isinstance(recipe, Recipe | SFTRecipe):
            continue
        name = key.rpartition(".")[2]
        owner = data.get(name) if isinstance(recipe, Recipe) else next(iter(data.values()), None)
        if isinstance(recipe, SFTRecipe):
            owner = next((each for each in data.values() if each.holdout is not None), None)
        if owner is None or owner.holdout != source.holdout or owner.path != source.path:
            raise ValueError(
                f"{key}.source takes prompts that are held out, and no source of that name in data holds "
                "them out: "
                f"they would be trained on; remove it (~{key}), or set data.{name}.holdout"
            )


def benches_of(recipe: object) -> dict[str, Source]:
    """Key -> source of what is evaluated."""
    found: Mapping[str, Bench] = getattr(recipe, "benches", {})
    prefix = "benches"
    if isinstance(recipe, Recipe):
        found, prefix = recipe.eval.benches, "eval.benches"
    if isinstance(recipe, SFTRecipe):
        return {} if recipe.eval.source is None else {"eval": recipe.eval.source}
    return {f"{prefix}.{name}": bench.source for name, bench in found.items()}
