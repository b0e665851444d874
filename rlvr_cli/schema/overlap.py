"""Sampling ahead of training: its options, and where they mean nothing."""

from __future__ import annotations

from enum import Enum
from typing import Any

from rlvr_cli.schema.placement import Placement


class Overlap(Enum):
    between = "between"
    beside = "beside"


class OnUpdate(Enum):
    recompute = "recompute"
    keep = "keep"
    finish = "finish"


class TooOld(Enum):
    wait = "wait"
    drop = "drop"


DEFAULTS: dict[str, Any] = {
    "overlap": Overlap.between,
    "on_update": OnUpdate.recompute,
    "too_old": TooOld.wait,
    "max_concurrent": None,
}
"""Keys of `rollout` that mean something with `max_staleness` alone, as they are without it."""


def check_overlap(rollout: Any) -> None:
    """ValueError, one line, where what belongs to sampling ahead does not go with the rest of a `Rollout`."""
    unused = [key for key, default in DEFAULTS.items() if getattr(rollout, key) is not default]
    if unused and not rollout.max_staleness:
        raise ValueError(
            f"rollout.{unused[0]} is set, but rollout.max_staleness=0 samples nothing ahead: leave it "
            "out, or set rollout.max_staleness=1"
        )
    in_process = rollout.placement is Placement.in_process
    if rollout.max_staleness and rollout.tensor_parallel > 1 and in_process:
        raise ValueError(
            "rollout.max_staleness does not go with rollout.tensor_parallel in process, whose ranks run one "
            "engine in step: leave one of the two out, or set rollout.placement=servers"
        )
    if rollout.overlap is Overlap.beside:
        _check_beside(rollout)
    elif rollout.on_update is not OnUpdate.recompute:
        raise ValueError(
            f"rollout.on_update={rollout.on_update.value} is for samples that run while weights come: set "
            "rollout.overlap=beside"
        )


def _check_beside(rollout: Any) -> None:
    if rollout.engine.value == "hf":
        raise ValueError(
            "rollout.overlap=beside needs rollout=vllm: rollout=hf samples in the trainer's turn only"
        )
    if not rollout.seeded:
        raise ValueError(
            "rollout.overlap=beside needs rollout.seeded=true: unseeded samples draw from the generator "
            "that the trainer draws from"
        )
    if rollout.sleep and rollout.placement is Placement.in_process:
        raise ValueError(
            "rollout.overlap=beside samples while the trainer works, and an engine that sleeps meanwhile "
            "cannot: set rollout.sleep=false"
        )
