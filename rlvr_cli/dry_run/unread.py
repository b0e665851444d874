"""Keys that are set and that nothing in the run will read, as far as the recipe itself tells.

What only a run can tell, `core/unused_keys.py` says at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlvr_cli.compose import AnyRecipe
from rlvr_cli.core.model_paths import BUILT_IN, TINY_MOE
from rlvr_cli.core.unused_keys import named_verifiers
from rlvr_cli.dry_run.changes import changed_keys
from rlvr_cli.schema import MaskKind, Recipe, RolloutEngine, Schedule, SFTRecipe, WandbMode

Rule = tuple[str, str, Callable[[Any], bool], str]
"""(section, its keys with spaces between, when they are not read, why)"""


def _made(recipe: Any) -> set[str | None]:
    """Paths of the recipe's models."""
    return {recipe.model.path, getattr(getattr(recipe, "critic", None), "path", None)}


ALWAYS: list[Rule] = [
    ("trainer", "min_lr", lambda r: r.trainer.schedule is Schedule.constant, "trainer.schedule is constant"),
    (
        "model.lora",
        "alpha rank_stabilised init dora dropout targets",
        lambda r: r.model.lora.rank == 0,
        "model.lora.rank is 0",
    ),
    (
        "model.mask",
        "share rank seed targets train_others",
        lambda r: not r.model.mask.on,
        "model.mask.kind is none",
    ),
    (
        "model.mask",
        "rank",
        lambda r: r.model.mask.kind in (MaskKind.low_magnitude, MaskKind.random),
        "only principal entries have a rank",
    ),
    (
        "model.mask",
        "seed",
        lambda r: r.model.mask.kind not in (MaskKind.random, MaskKind.random_off_principal),
        "nothing of the mask is drawn",
    ),
    (
        "model.tiny",
        "hidden_size layers heads kv_heads max_positions",
        lambda r: not _made(r) & {*BUILT_IN},
        f"model.path is not {' or '.join(BUILT_IN)}",
    ),
    (
        "model.tiny",
        "experts experts_per_token",
        lambda r: TINY_MOE not in _made(r),
        f"model.path is not {TINY_MOE}",
    ),
    (
        "tracker",
        "project entity tags",
        lambda r: r.tracker.wandb is WandbMode.disabled,
        "tracker.wandb is disabled",
    ),
]
OF_SFT: list[Rule] = [
    (
        "eval",
        "every limit",
        lambda r: r.eval.source is None,
        "there is no eval.source; data.<name>.holdout makes one",
    ),
]
OF_RL: list[Rule] = [
    (
        "eval",
        "every at_start at_end",
        lambda r: not r.eval.benches,
        "there is no bench; data.<name>.holdout: 0.1 makes one, or +bench@eval.benches.gsm8k=gsm8k adds one",
    ),
    (
        "rollout",
        "kv_cache_gb gpu_memory_utilization enforce_eager",
        lambda r: r.rollout.engine is RolloutEngine.hf,
        "rollout.engine is hf",
    ),
    ("hygiene", "strict ngram examples", lambda r: not r.hygiene.enabled, "hygiene.enabled is false"),
    (
        "verification",
        "self_test_rows",
        lambda r: r.verification.self_test_floor is None,
        "verification.self_test_floor is null",
    ),
    (
        "diagnosis",
        "second_share",
        lambda r: r.diagnosis.second_verifier is None,
        "diagnosis.second_verifier is null",
    ),
    (
        "controller",
        "actions every max_actions lr_factor clip_step clip_max",
        lambda r: not r.controller.enabled,
        "controller.enabled is false",
    ),
    ("preflight", "prompts", lambda r: r.preflight.enabled is False, "preflight.enabled is false"),
    ("tracker", "tokens", lambda r: not r.tracker.rollouts, "tracker.rollouts is false"),
]


def unread(recipe: AnyRecipe) -> dict[str, str]:
    """Key -> why nothing will read it, of keys that the recipe sets to another value than default and
    preset."""
    if not isinstance(recipe, Recipe | SFTRecipe):
        return {}
    changed = changed_keys(recipe)
    rules = [*ALWAYS, *(OF_RL if isinstance(recipe, Recipe) else OF_SFT)]
    found = {
        f"{section}.{key}": why
        for section, keys, idle, why in rules
        if idle(recipe)
        for key in keys.split()
        if any(each == f"{section}.{key}" or each.startswith(f"{section}.{key}.") for each in changed)
    }
    return found | dict(_verifiers(recipe))


def told(recipe: AnyRecipe) -> Callable[[str], bool]:
    """Dotted key -> whether it was told before the start, or is as the defaults or the preset have it."""
    before, changed = unread(recipe), changed_keys(recipe)

    def known(key: str) -> bool:
        return key in before or not any(each == key or each.startswith(f"{key}.") for each in changed)

    return known


def _verifiers(recipe: Recipe | SFTRecipe) -> Iterator[tuple[str, str]]:
    """Those that no source names."""
    named = named_verifiers(recipe) if isinstance(recipe, Recipe) else None
    for key in recipe.verifiers if isinstance(recipe, Recipe) and named is not None else ():
        if key not in (named or ()):
            yield f"verifiers.{key}", "no source names it"
