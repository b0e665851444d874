"""The steps of W&B's curves."""

from __future__ import annotations

from typing import Any

from rlvr_cli.tracking.wandb_run import WandbRun


def test_a_step_is_a_metric_of_its_own() -> None:
    """W&B drops rows whose built-in `step` it has seen, as those that a run does again after a resume."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    class Service:
        def log(self, *values: Any, **options: Any) -> None:
            calls.append((values, options))

    run = WandbRun(Service(), print)
    for step in (7, 8, 7):
        run.log({"reward/mean": 0.5}, step)
    assert calls == [(({"step": step, "reward/mean": 0.5},), {}) for step in (7, 8, 7)]
