"""Sequences -> rows -> micro-batches, balanced over ranks.

Rows are padded on the right: under causal attention no real token sees the padding, so no mask is
needed. Several sequences in one row are kept apart by their position ids, which transformers turns
into block-diagonal attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch


@dataclass(slots=True, kw_only=True)
class MicroBatch:
    """R rows of L tokens and where their n trained tokens are."""

    input_ids: Tensor
    """[R, L]"""
    position_ids: Tensor
    """[R, L]; restarts at 0 with each sequence of a row."""
    predictors_n: Tensor
    """Index into the flattened rows of the position that predicts each trained token."""
    targets_n: Tensor
    """The trained tokens."""
    tokens_n: Tensor
    """Index of each trained token in the batch's flat _N tensors."""
    lengths_b: Tensor
    """Trained tokens of each sequence here."""


def rows_of(lengths: Sequence[int], capacity: int | None) -> list[list[int]]:
    """Sequence indices of each row: one per row, or first-fit-decreasing into `capacity` tokens."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    if capacity is None:
        return [[i] for i in order]
    rows: list[list[int]] = []
    free: list[int] = []
    for i in order:
        fit = next((r for r, left in enumerate(free) if left >= lengths[i]), None)
        if fit is None:
            rows.append([])
            free.append(max(capacity, lengths[i]))
            fit = len(rows) - 1
        rows[fit].append(i)
        free[fit] -= lengths[i]
    return rows


def plan(
    lengths: Sequence[int], *, ranks: int, tokens_per_microbatch: int, capacity: int | None = None
) -> list[list[list[list[int]]]]:
    """Sequence indices as [rank][micro-batch][row][sequence]; every rank gets as many micro-batches.

    Rows are dealt longest first to the rank with the fewest tokens; each rank cuts its rows (sorted by
    length, so padding is small) where rows x longest would pass the budget. A row longer than the budget
    is a micro-batch of its own. Ranks that run out get empty micro-batches, because with ZeRO every
    rank must take part in every forward.
    """
    rows = rows_of(lengths, capacity)
    sizes = [sum(lengths[i] for i in row) for row in rows]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for r in sorted(range(len(rows)), key=lambda r: (-sizes[r], r)):
        rank = loads.index(min(loads))
        shares[rank].append(r)
        loads[rank] += sizes[r]
    plans: list[list[list[list[int]]]] = []
    for share in shares:
        micro_batches: list[list[list[int]]] = []
        width = 0
        for r in share:  # longest first: the first row of a micro-batch sets its width
            if micro_batches and (len(micro_batches[-1]) + 1) * width <= tokens_per_microbatch:
                micro_batches[-1].append(rows[r])
            else:
                micro_batches.append([rows[r]])
                width = sizes[r]
        plans.append(micro_batches)
    most = max(1, *(len(p) for p in plans)) if plans else 1
    return [p + [[] for _ in range(most - len(p))] for p in plans]


def collate(
    rows: list[list[int]],
    sequences: Sequence[np.ndarray],
    trained: Sequence[np.ndarray],
    starts_B: np.ndarray,
) -> MicroBatch:
    """Tensors of one micro-batch; `starts_B[i]` is where sequence i begins in the flat _N tensors."""
    if not rows:  # an empty share still runs one token through the model, with nothing to train
        rows, sequences, trained, starts_B = [[0]], [np.zeros(1, np.int32)], [np.zeros(1, bool)], np.zeros(1)
    width = max(sum(len(sequences[i]) for i in row) for row in rows)
    input_ids = np.zeros((len(rows), width), np.int64)
    # The padding continues the last sequence's positions: a jump would read as one more sequence.
    position_ids = np.zeros((len(rows), width), np.int64)
    predictors, targets, tokens, lengths = [], [], [], []
    for r, row in enumerate(rows):
        column = 0
        for i in row:
            length = len(sequences[i])
            input_ids[r, column : column + length] = sequences[i]
            position_ids[r, column:] = np.arange(width - column)
            where = np.flatnonzero(trained[i])
            predictors.append(r * width + column + where - 1)
            targets.append(sequences[i][where])
            tokens.append(starts_B[i] + np.arange(len(where)))
            lengths.append(len(where))
            column += length
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        predictors_n=torch.from_numpy(np.concatenate(predictors).astype(np.int64)),
        targets_n=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        tokens_n=torch.from_numpy(np.concatenate(tokens).astype(np.int64)),
        lengths_b=torch.tensor(lengths),
    )


def select(batch: Batch, micro: MicroBatch) -> dict[str, Tensor]:
    """The batch's per-token tensors at this micro-batch's tokens, on the device."""
    whole = {
        "weights": batch.weights_N,
        "rollout_logprobs": batch.rollout_logprobs_N,
        "advantages": batch.advantages_N,
        "old_logprobs": batch.old_logprobs_N,
        "ref_logprobs": batch.ref_logprobs_N,
        "values": batch.values_N,
        "returns": batch.returns_N,
    }
    device = distributed.device()
    picked = {key: x[micro.tokens_n].to(device) for key, x in whole.items() if x is not None}
    return picked | {"lengths": micro.lengths_b.to(device), "tokens": micro.tokens_n}
