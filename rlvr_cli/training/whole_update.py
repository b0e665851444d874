"""What is computed over a whole update before it is dealt out: weights of the sum and of corrections, tokens
treated apart or in an update of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.algorithms.aggregation import weigh
from rlvr_cli.core.types import Batch

Aggregation = Callable[[Tensor, list[int]], Tensor]
"""(keep_N of some samples' tokens, these samples) -> float32 weights of the tokens."""


def aggregated(option: Any, lengths_B: Tensor, group_size: int, keep_N: Tensor, members: list[int]) -> Tensor:
    """The aggregation's weights over the tokens of `members`; a prompt's samples lie together in _B."""
    at = torch.tensor(members, dtype=torch.long)
    return weigh(option, keep_N, lengths_B[at], at // group_size).float()


def passes(token_weights: Any, keep_N: Tensor, old_N: Tensor | None) -> list[Tensor]:
    """Of the tokens that train, those of each update of the same samples: mostly there is one."""
    count = getattr(token_weights, "passes", 1)  # an option of a plugin may not have it
    if count == 1:
        return [keep_N]
    assert old_N is not None  # `needs_old_logprobs`
    return [keep_N & token_weights.of_pass(number, old_N) for number in range(count)]


def with_choice(batch: Batch, loss: Any, seed: str) -> Batch:
    """The batch with the tokens that its loss treats apart: the same on every rank, and after a resume."""
    assert batch.old_logprobs_N is not None and batch.advantages_N is not None  # `needs_old_logprobs`
    keep_N = batch.weights_N != 0
    return replace(batch, chosen_N=loss.choose(batch.advantages_N, batch.old_logprobs_N, keep_N, seed))


def scaled(batch: Batch, mismatch: Any) -> Batch:
    """The batch with the factors on the mismatch's weights that only the whole update knows, if any."""
    if not mismatch.needs_old_logprobs:
        return batch
    assert batch.old_logprobs_N is not None and batch.rollout_logprobs_N is not None
    scale_N = mismatch.whole_update(
        batch.old_logprobs_N, batch.rollout_logprobs_N, torch.tensor(batch.lengths_B), batch.weights_N != 0
    )
    return replace(batch, mismatch_scale_N=scale_N)
