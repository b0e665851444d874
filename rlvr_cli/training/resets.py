"""Reference and optimizer start anew: by the clock, the KL, or validation that stands still (ProRL)."""

from __future__ import annotations

from rlvr_cli.training.parts import Parts
from rlvr_cli.training.weight_sync import trainer_awake


def renew_reference(parts: Parts, mean_kl: float | None = None) -> None:
    """After a step (with its mean KL to the reference) or an evaluation: reset when the rule says so."""
    rule = parts.recipe.algorithm.reference
    if parts.reference is None or parts.ended:
        return
    cause = rule.cause(parts.step, parts.state["last_reset"], mean_kl)
    if cause is None:
        return
    reset_reference(parts, cause)
    if rule.reset_optimizer:
        reset_optimizer(parts, cause)


def observe_validation(parts: Parts) -> None:
    """After an evaluation: tell the rule, which may find that training has stalled."""
    rule = parts.recipe.algorithm.reference
    if rule.patience is None:
        return
    bench = rule.bench or next(iter(parts.recipe.eval.benches))
    summary = parts.last_eval[bench]
    rule.observe(bench, next(value for key, value in summary.items() if key.startswith("avg@")))
    renew_reference(parts)


def reset_reference(parts: Parts, cause: str) -> None:
    """reference := policy. Nothing is in flight between steps, and old logprobs are not its business."""
    assert parts.reference is not None  # recipes that reset what is not there are refused
    with trainer_awake(parts):
        parts.reference.reset()
    parts.state["last_reset"] = parts.step
    rule = parts.recipe.algorithm.reference
    if rule.resets:
        rule.renewed()
    parts.tracker.event("reference", f"reference reset after step {parts.step}: {cause}", cause=cause)


def reset_optimizer(parts: Parts, cause: str) -> None:
    """Forget Adam's moments and step counts; the learning rate's warm-up starts again."""
    with trainer_awake(parts):
        parts.trainer.reset_optimizer()
    parts.state["fresh_optimizer"] = parts.step
    parts.tracker.event("optimizer", f"optimizer reset after step {parts.step}: {cause}", cause=cause)
