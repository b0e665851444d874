"""Ways to sample that `ahead.py` and `overlap.py` compare: where the engine is, and how far ahead it goes."""

from __future__ import annotations

BESIDE = ["rollout.max_staleness=1", "rollout.overlap=beside", "rollout.sleep=false"]
WAIT = "wait for all"
MODES: dict[str, list[str]] = {
    WAIT: [],
    "between, k=1": ["rollout.max_staleness=1"],
    "between, k=2": ["rollout.max_staleness=2"],
    "beside, k=1": BESIDE,
    "beside, k=1, keep": [*BESIDE, "rollout.on_update=keep"],
    "beside, k=1, finish": [*BESIDE, "rollout.on_update=finish"],
}
PLACEMENTS = ("in_process", "servers")


def settings(placement: str, mode: str) -> list[str]:
    """Of a recipe's `rollout`; the correction for older weights is the recipe's own matter."""
    return [f"rollout.placement={placement}", *MODES[mode]]
