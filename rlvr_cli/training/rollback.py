"""Back to the newest good checkpoint within a running run, without meeting the same data again."""

from __future__ import annotations

from typing import Any

from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.core import distributed
from rlvr_cli.core.errors import Hopeless
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resume import reinstate, restore, save
from rlvr_cli.training.weight_sync import sync


class NoWayBack(Hopeless):
    """There is no checkpoint to go back to, or going back to it has not helped."""


def rollback(parts: Parts, cause: str) -> None:
    """Restore the newest good checkpoint into the live parts; all ranks must call it.

    Model, optimizer, reference, critic, state, metrics and records are those of its step again. The sampler
    stays where it is: what led here does not come again. So does what the controller has done. The
    checkpoint is written anew with these two, so that a run that is resumed from it goes on the same way.
    Raises NoWayBack without a checkpoint, and where the newest was gone back to before.
    """
    step = way_back(parts.checkpoints, parts.state, cause)
    before, position, controller = parts.step, parts.sampler.state(), parts.state["controller"]
    if parts.reference is not None:
        parts.reference.restart()  # a checkpoint has the weights of a reference only once it was reset
    flying = None if parts.ahead is None else parts.ahead.paused()
    restore(parts)
    parts.sampler.skip(position)
    if parts.ahead is not None and flying is not None:
        parts.ahead.abandon(flying, cause)
    parts.state["controller"] = controller
    reinstate(parts.recipe, controller)
    parts.state["rolled_back"] = parts.step
    sync(parts)
    parts.timer.take()  # not part of the next step
    parts.tracker.event(
        "rollback",
        f"back from step {before} to the checkpoint of step {parts.step}: {cause}",
        cause=cause,
        before=before,
        wanted=step,
    )
    save(parts)


def way_back(checkpoints: Checkpoints, state: dict[str, Any], cause: str) -> int:
    """Step of the checkpoint to go back to; the same on every rank."""
    checkpoints.settle()
    step = distributed.gather(checkpoints.latest())[0]
    if step is None:
        raise NoWayBack(f"{cause}; there is no checkpoint to go back to (checkpoint.every)")
    if state.get("rolled_back") == step:
        raise NoWayBack(f"{cause}; going back to the checkpoint of step {step} before has not helped")
    return step
