"""What the mismatch option needs of a whole update: factors on its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rlvr_cli.core.types import Batch


def scaled(batch: Batch, mismatch: Any) -> Batch:
    """The batch with what only the whole update knows of the mismatch's weights, where there is any."""
    if not mismatch.needs_old_logprobs:
        return batch
    assert batch.old_logprobs_N is not None and batch.rollout_logprobs_N is not None
    scale_N = mismatch.whole_update(
        batch.old_logprobs_N, batch.rollout_logprobs_N, torch.tensor(batch.lengths_B), batch.weights_N != 0
    )
    return replace(batch, mismatch_scale_N=scale_N)
