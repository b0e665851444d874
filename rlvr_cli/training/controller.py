"""The stability controller: acts on findings of the diagnosis, and writes each action down.

Rank 0 decides, because it has the metrics; all ranks act. What has been done is part of the loop's state and
so of every checkpoint. Findings come from the metrics alone, hence a run that goes on acts as if it had
never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.diagnosis import RULES, Finding, Severity
from rlvr_cli.schema import Action
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resets import reset_reference
from rlvr_cli.training.resume import reinstate
from rlvr_cli.training.rollback import NoWayBack, rollback, way_back


def stabilise(parts: Parts) -> None:
    """After a step: act on a finding that lasts, where one is due; all ranks must call it."""
    if not parts.recipe.controller.enabled or parts.ended:
        return
    finding = distributed.gather(due(parts))[0]
    if finding is None:
        return
    action: Action = getattr(parts.recipe.controller.actions, finding.rule)
    change(parts, taken=parts.state["controller"]["taken"] + 1, last=parts.step)
    done = ACTIONS[action](parts, f"{RULES[finding.rule].title}, found after step {finding.step}")
    fields = {"rule": finding.rule, "action": action.value, "found": finding.step, "values": finding.values}
    parts.tracker.event("action", f"{done}; because {finding.message}", **fields)


def due(parts: Parts) -> Finding | None:
    """The finding to act on now: the worst, then the oldest of those that last; on rank 0 only."""
    settings, state = parts.recipe.controller, parts.state["controller"]
    if parts.watch is None or state["taken"] >= settings.max_actions:
        return None
    if state["last"] is not None and parts.step - state["last"] < settings.every:
        return None
    none = Action.none
    wanted = [f for f in parts.watch.active if getattr(settings.actions, f.rule, none) is not none]
    return min(wanted, key=lambda f: f.severity is not Severity.critical, default=None)


def change(parts: Parts, **news: Any) -> None:
    # A new dict: the old one may be on its way into a checkpoint.
    parts.state["controller"] = parts.state["controller"] | news


def lower_lr(parts: Parts, cause: str) -> str:
    before = parts.state["controller"]["lr_factor"]
    after = before * parts.recipe.controller.lr_factor
    change(parts, lr_factor=after)
    return f"learning rate times {after:g} (was {before:g})"


def raise_clip(parts: Parts, cause: str) -> str:
    settings, loss = parts.recipe.controller, parts.recipe.algorithm.loss
    before = loss.clip_ratio_high
    change(parts, clip_ratio_high=max(before, min(before + settings.clip_step, settings.clip_max)))
    reinstate(parts.recipe, parts.state["controller"])
    return f"algorithm.loss.clip_ratio_high {before:g} -> {loss.clip_ratio_high:g}"


def go_back(parts: Parts, cause: str) -> str:
    """Lower the learning rate too: what led here would lead here again."""
    lowered = lower_lr(parts, cause)
    try:
        step = way_back(parts.checkpoints, parts.state, cause)
    except NoWayBack:
        return f"{lowered} (there is no checkpoint to go back to that would be new)"
    change(parts, last=step)  # before: the checkpoint is written anew with it
    rollback(parts, cause)
    return f"back to step {parts.step}, {lowered}"


def renew(parts: Parts, cause: str) -> str:
    reset_reference(parts, cause)
    return "the policy is the new reference"


ACTIONS: dict[Action, Callable[[Any, str], str]] = {
    Action.lower_lr: lower_lr,
    Action.raise_clip: raise_clip,
    Action.reset_reference: renew,
    Action.rollback: go_back,
}
