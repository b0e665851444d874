"""A training run's tracker, and what it says of where a run begins and stops."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal, TextIO

from rlvr_cli.core import distributed
from rlvr_cli.schema import Recipe, SFTRecipe
from rlvr_cli.schema.derived import derive
from rlvr_cli.tracking import Tracker, write_environment
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.stop import NoVerdict, Stop


def open_tracker(
    recipe: Recipe | SFTRecipe, terminal: TextIO, *, kind: Literal["rl", "sft", "preference"]
) -> Tracker | NullTracker:
    """Rank 0's tracker, after writing environment.json; the other ranks' silent one."""
    if distributed.rank() != 0:
        return NullTracker()
    out = Path(recipe.out)
    write_environment(out, seed=recipe.seed, world_size=distributed.world_size())
    tracker = Tracker(
        recipe.tracker,
        out,
        terminal=terminal,
        total_steps=recipe.trainer.steps,
        run_name=recipe.name,
        recipe=asdict(recipe),
        kind=kind,
    )
    what = {"run": f"{recipe.name} ({recipe.algorithm.name})", "model": recipe.model.path}
    tracker.header(what | derive(recipe) | {"ranks": str(distributed.world_size())})
    return tracker


def tell_resume(tracker: Tracker | NullTracker, step: int, damaged: list[str], changed: list[str]) -> None:
    """Say where a run goes on: after its newest good checkpoint, whatever is wrong with newer ones."""
    for said in damaged:
        tracker.event("warning", f"a damaged checkpoint was set aside (renamed to .corrupt): {said}")
    if changed:
        tracker.event("recipe", f"changed after step {step}: {', '.join(changed)}", changes=changed)
    tracker.event("resume", f"continuing after step {step}")


def tell_silence(tracker: Tracker | NullTracker, step: int, error: NoVerdict, out: Path) -> None:
    """Say why a run stops for whom it has waited for, and how to go on."""
    tracker.event(
        "stop",
        f"stopped after step {step}: {error}; when that works again, continue with: "
        f"rlvr train {out}/recipe.yaml",
    )


def tell_stop(tracker: Tracker | NullTracker, step: int, stop: Stop, out: Path) -> None:
    tracker.event(
        "stop", f"stopped after step {step}{stop.reason}; to continue: rlvr train {out}/recipe.yaml"
    )
