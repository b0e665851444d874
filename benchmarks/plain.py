"""A training step of plain torch and transformers: what ours is measured against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from rlvr_cli.core.types import Batch
from rlvr_cli.engine import attention
from rlvr_cli.engine.pack import MicroBatch


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one forward and backward are made of."""

    input_ids: Tensor
    """[R, L]"""
    predictors_n: Tensor
    """Index into the flattened rows of the position that predicts each trained token."""
    targets_n: Tensor
    more: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the model: positions, a mask, a layout."""


class PlainTrainer:
    """A transformers model in fp32 with torch's AdamW; no DeepSpeed, no clipping, no metrics."""

    def __init__(self, path: str, lr: float, implementation: str) -> None:
        """implementation: of attention, in transformers' terms."""
        attention.register()
        self.model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation=implementation
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr, fused=True)
        self.model.train()

    def step(self, shares: Iterable[Share], tokens: int) -> float:
        """The loss: mean cross-entropy of the `tokens` trained tokens of all shares."""
        whole = 0.0
        for share in shares:
            decoded = self.model.model(input_ids=share.input_ids, use_cache=False, **share.more)
            hidden_nD = decoded.last_hidden_state.flatten(0, 1)[share.predictors_n]
            logits_nV = self.model.lm_head(hidden_nD)
            loss = cross_entropy(logits_nV, share.targets_n, reduction="sum") / tokens
            loss.backward()
            whole += float(loss.detach())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return whole


def packed(micro_batches: list[MicroBatch]) -> Iterable[Share]:
    """Our micro-batches, for a model whose attention is ours."""
    for micro in micro_batches:
        yield Share(
            input_ids=micro.input_ids,
            predictors_n=micro.predictors_n,
            targets_n=micro.targets_n,
            more={"position_ids": micro.position_ids, "layout": micro.layout},
        )


def dense(batch: Batch, row: int) -> Iterable[Share]:
    """Rows of at most `row` tokens, several sequences in each: positions become a dense mask."""
    rows: list[list[int]] = []
    room = 0
    for i in sorted(range(len(batch.sequences)), key=lambda i: -len(batch.sequences[i])):
        if len(batch.sequences[i]) > room:
            rows.append([])
            room = row
        rows[-1].append(i)
        room -= len(batch.sequences[i])
    for members in rows:
        sequences, masks = [batch.sequences[i] for i in members], [batch.trained[i] for i in members]
        ids, trained = np.concatenate(sequences), np.concatenate(masks)
        positions = np.concatenate([np.arange(len(s)) for s in sequences])
        yield share(ids[None], trained[None], {"position_ids": torch.from_numpy(positions)[None]})


def padded(batch: Batch, rows: int) -> Iterable[Share]:
    """So many sequences at a time, in their order, padded to the longest, with the mask that says so."""
    for start in range(0, len(batch.sequences), rows):
        sequences, masks = batch.sequences[start : start + rows], batch.trained[start : start + rows]
        width = max(map(len, sequences))
        ids, trained, real = (np.zeros((len(sequences), width), np.int64) for _ in range(3))
        for n, (sequence, mask) in enumerate(zip(sequences, masks, strict=True)):
            ids[n, : len(sequence)], trained[n, : len(mask)], real[n, : len(sequence)] = sequence, mask, 1
        yield share(ids, trained.astype(bool), {"attention_mask": torch.from_numpy(real)})


def share(ids: np.ndarray, trained: np.ndarray, more: dict[str, Any]) -> Share:
    where = np.flatnonzero(trained)
    return Share(
        input_ids=torch.from_numpy(ids.astype(np.int64)),
        predictors_n=torch.from_numpy(where - 1),
        targets_n=torch.from_numpy(ids.flatten()[where].astype(np.int64)),
        more=more,
    )
