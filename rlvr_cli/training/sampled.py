"""Numbers of sampled tokens, whole on every rank whoever has them: the engine's logprobs, and their age."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.algorithms.proximal import Proximal
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Completion, Group
from rlvr_cli.training.parts import Parts


def rollout_logprobs(groups: list[Group], owners: list[int] | None) -> Tensor:
    """The engine's logprobs of all sampled tokens: float32 _N. `owners`: the rank of each sequence."""
    return _whole(groups, owners, sampled_logprobs)


def token_ages(parts: Parts, groups: list[Group], owners: list[int] | None) -> dict[str, Tensor]:
    """`ages_N`, where the proximal policy goes by it: float32, steps from the weights that sampled a token to
    those of this step's start.

    `owners`: of each sequence. All ranks must call it. Nothing where the run does not sample ahead: all ages
    are 0.
    """
    recipe = parts.recipe
    if recipe.algorithm.mismatch.proximal is not Proximal.interpolated or not recipe.rollout.max_staleness:
        return {}
    return {"ages_N": _whole(groups, owners, lambda row: _ages(row, parts.step))}


def sampled_logprobs(completion: Completion) -> np.ndarray:
    """float32, one for each sampled token of a sequence."""
    return completion.logprobs[completion.mask()]


def _ages(row: Completion, step: int) -> np.ndarray:
    return (step - row.versions[row.mask()]).astype(np.float32)


def _whole(groups: list[Group], owners: list[int] | None, find: Callable[[Completion], np.ndarray]) -> Tensor:
    rows = [row for g in groups for c in g.completions for row in c.rows]
    if owners is None:
        return torch.from_numpy(np.concatenate([find(row) for row in rows])).float()
    here = distributed.rank()
    own = [
        find(row) if r == here else np.zeros(row.row_length, np.float32)
        for row, r in zip(rows, owners, strict=True)
    ]
    return distributed.sum_over_ranks(torch.from_numpy(np.concatenate(own)).float())
