"""What may change in the recipe of a run that goes on, and what is different nevertheless."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from rlvr_cli.core.defaults import default_of
from rlvr_cli.core.flatten import flatten

FREE = (
    "out",
    "resume",
    "plugins",  # what is in them counts: `code_differences`
    "trainer.steps",
    "trainer.response_tokens",
    "trainer.ranks",
    "trainer.zero_stage",
    "trainer.offload",
    "trainer.sleep",
    "trainer.kernels",
    "trainer.sequence_parallel",
    "tracker",
    "checkpoint",
    "faults",
    "eval",
    "hygiene",
    "preflight",
    "diagnosis",
    "verification.workers",
    "verification.self_test_floor",
    "verification.self_test_rows",
    "rollout.gpu_memory_utilization",
    "rollout.placement",
    "rollout.servers",
    "rollout.tensor_parallel",
)
"""Keys (or sections) that may change when a run is continued: they do not alter what it learns."""


def differences(
    old: dict[str, Any], new: dict[str, Any], step: int, begun: int, same: Collection[str] = ()
) -> list[str]:
    """`key (old -> new)` of every difference between two recipe trees that alters what a run learns.

    `step` is that of the checkpoint it goes on from and `begun` the number of stages entered there: those
    that come later may change too. `same`: keys whose values mean the same, however they are written.
    """
    before, after = (flatten(_without_coming_stages(tree, step, begun)) for tree in (old, new))
    return [
        f"{key} ({before.get(key, 'absent')} -> {after.get(key, 'absent')})"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
        and key not in same
        and not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]


def completed(old: Mapping[str, Any], new: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """The tree `old` with the keys that an earlier version did not have and that are at their defaults in
    `recipe`, of which `new` is the tree: a default does what was done before there was the key."""
    whole = dict(old)
    for field in fields(recipe):
        name, value = field.name, getattr(recipe, field.name)
        if name not in new:
            continue
        if name not in old:
            if value == default_of(field):
                whole[name] = new[name]
            continue
        if is_dataclass(value) and isinstance(old[name], Mapping):
            whole[name] = completed(old[name], new[name], value)
        elif isinstance(value, Mapping) and isinstance(old[name], Mapping):
            below = {
                k: v for k, v in value.items() if is_dataclass(v) and isinstance(old[name].get(k), Mapping)
            }
            whole[name] = {
                **old[name],
                **{k: completed(old[name][k], new[name][k], v) for k, v in below.items()},
            }
    return whole


def code_differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """`key (sha256 old -> new)` of the user's code that is another, by its SHA-256."""
    return [
        f"{key} (sha256 {old.get(key, 'absent')[:8]} -> {new.get(key, 'absent')[:8]})"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _without_coming_stages(tree: dict[str, Any], step: int, begun: int) -> dict[str, Any]:
    """A stage that comes after the checkpoint's last step has begun there, unless the run ended first."""
    stages = enumerate((tree.get("stages") or {}).items())
    return tree | {"stages": {k: stage for n, (k, stage) in stages if n < begun or stage["after"] < step}}
