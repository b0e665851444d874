"""Where a step meets its teacher: advantages, updates, checkpoints, metrics."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch, Group
from rlvr_cli.engine.teacher import Average
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.teaching import Prompts, teacher_weights, with_opinion

FILE = "teacher.pt"
"""Of a checkpoint: the weights of a teacher that follows the policy."""


def take_opinion(
    parts: Parts,
    groups: list[Group],
    advantages_N: Tensor,
    old_N: Tensor | None,
    lengths_B: Tensor,
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    owners: list[int] | None,
    prompts: Prompts | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Advantages with the teacher's part, and what is known of it at each token."""
    lessons, option = parts.lessons, parts.recipe.algorithm.distillation
    if lessons is None:
        return advantages_N, {}
    sources = {name: source.teacher_weight for name, source in parts.recipe.data.items()}
    known = {"teacher_weights_N": teacher_weights(groups, sources, prompts)}
    if option.in_reward:
        assert old_N is not None  # `needs_old_logprobs`
        with parts.timer("teacher"):
            known["teacher_logprobs_N"] = lessons.opinion(
                sequences, trained, known["teacher_weights_N"], owners, prompts, old_N
            )
    return with_opinion(option, advantages_N, old_N, lengths_B, **known), known


def ask_first(parts: Parts, batches: list[Batch]) -> None:
    """Before the first update of a step: what a teacher that may fail has to say of all of them."""
    if parts.lessons is not None:
        parts.lessons.ask_first(batches, parts.timer)


def beside(parts: Parts, batch: Batch) -> AbstractContextManager[None]:
    """Within the block an update with `batch` has its teacher beside it, where it is to be compared."""
    if parts.lessons is None:
        return nullcontext()
    return parts.lessons.beside(parts.trainer, batch, parts.timer)


def follow(parts: Parts) -> None:
    """After a step's updates: a teacher that follows the policy does so."""
    if parts.lessons is not None and isinstance(parts.lessons.teacher, Average):
        with parts.timer("teacher"):
            parts.lessons.teacher.follow()


def teacher_file(parts: Parts) -> dict[str, Any]:
    """What of the teacher a checkpoint has to hold, on rank 0. All ranks must call it."""
    if parts.lessons is None or not isinstance(parts.lessons.teacher, Average):
        return {}
    weights = parts.lessons.teacher.snapshot()
    return {FILE: weights} if distributed.rank() == 0 else {}


def restore_teacher(parts: Parts, step: int) -> None:
    """The teacher of a checkpoint, where it was one that follows. All ranks must call it."""
    if parts.lessons is None or not isinstance(parts.lessons.teacher, Average):
        return
    file = parts.checkpoints.folder / f"step_{step}" / FILE
    if file.exists():
        parts.lessons.teacher.load(file)
    else:
        parts.tracker.event("warning", "the checkpoint has no teacher: it starts as the start model again")


def teacher_metrics(parts: Parts, batches: list[Batch], timing: dict[str, float]) -> dict[str, float]:
    """Tokens the teacher has read, and the share of the trained tokens that it has a say on."""
    if parts.lessons is None:
        return {}
    read, parts.lessons.tokens = parts.lessons.tokens, 0
    out = {"perf/teacher_tokens": float(read)}
    if seconds := timing.get("timing_s/teacher"):
        out["perf/teacher_tokens_per_second"] = read / seconds
    seen = [b.teacher_weights_N for b in batches if b.teacher_weights_N is not None]
    if total := sum(map(len, seen)):
        out["distillation/taught_fraction"] = sum(int((w != 0).sum()) for w in seen) / total
    return out
