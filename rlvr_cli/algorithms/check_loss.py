"""Combinations of a loss, or of pass@k, with other parts that cannot work; see `check.py`."""

from __future__ import annotations

from typing import Any


def has_ratio_to_sampler(algorithm: Any) -> bool:
    """Whether the loss itself weighs by new / rollout."""
    return bool(algorithm.loss.name == "divergence_mask" and algorithm.loss.needs_rollout)


def check_loss(algorithm: Any, group_size: int) -> None:
    """Raise ValueError with one line for the first of them."""
    loss, mismatch = algorithm.loss, algorithm.mismatch
    if has_ratio_to_sampler(algorithm) and mismatch.name != "none":
        raise ValueError(
            f"algorithm.mismatch={mismatch.name} would count the gap to the engine twice, as the ratio of "
            "algorithm.loss=divergence_mask has it already: choose mismatch=none, or loss.anchor=old"
        )
    if has_ratio_to_sampler(algorithm) and mismatch.proximal.value != "old":
        raise ValueError(
            f"algorithm.mismatch.proximal={mismatch.proximal.value} is without effect, as the ratio of "
            "algorithm.loss=divergence_mask is to the engine: choose proximal=old, or loss.anchor=old"
        )
    if loss.name == "squared_ratio" and loss.beta is None:
        raise ValueError("algorithm.loss.beta is null; it must be given for squared_ratio, e.g. 0.1")
    if getattr(loss, "whole_response", False) and (part := _by_token(algorithm)):
        raise ValueError(
            f"algorithm.loss={loss.name} needs one advantage for a whole response, and {part} gives each "
            "token its own: choose another loss"
        )
    if algorithm.reweight.name == "token_probability" and algorithm.token_weights.name != "all":
        raise ValueError(
            "algorithm.reweight=token_probability weakens unlikely tokens, and "
            f"algorithm.token_weights={algorithm.token_weights.name} trains these alone: choose one of them"
        )
    if algorithm.advantage.name == "pass_at_k" and algorithm.advantage.k >= group_size:
        raise ValueError(
            f"algorithm.advantage.k is {algorithm.advantage.k}; it must be below batch.group_size "
            f"({group_size}), whose subsets it compares"
        )


def _by_token(algorithm: Any) -> str | None:
    """The part that lets advantages differ within a response."""
    if algorithm.advantage.name in ("gae", "segment", "tree", "step_groups"):
        return f"algorithm.advantage={algorithm.advantage.name}"
    if algorithm.reweight.name == "token_probability":
        return "algorithm.reweight=token_probability"
    if algorithm.distillation.in_reward:
        return f"algorithm.distillation={algorithm.distillation.name}"
    if algorithm.kl.in_reward and getattr(algorithm.advantage, "by_token", False):
        return f"algorithm.kl=reward with advantage={algorithm.advantage.name}"
    return None
